//! Where a function that is interrupted without a frame has its return address.

/// Returns how many words above the stack pointer the return address lies, if the instruction is one before which the function's
/// frame is not in the chain of frame pointers: PUSH RBP, the MOV RBP, RSP after it, or RET. The bytes are the instruction's
/// first three, as far as there is code.
///
/// **Context:** any.
pub(crate) fn words_above_stack_pointer(code: [Option<u8>; 3]) -> Option<u64> {
    match code {
        [Some(0x55 | 0xc3), ..] => Some(0),
        // Both encodings of MOV.
        [Some(0x48), Some(0x89), Some(0xe5)] | [Some(0x48), Some(0x8b), Some(0xec)] => Some(1),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_return_address_is_found_where_a_function_has_no_frame() {
        let words = |code: &[u8]| words_above_stack_pointer([0, 1, 2].map(|index| code.get(index).copied()));
        assert_eq!(words(&[0x55, 0x48, 0x89]), Some(0));
        assert_eq!(words(&[0xc3]), Some(0));
        assert_eq!(words(&[0x48, 0x89, 0xe5]), Some(1));
        assert_eq!(words(&[0x48, 0x8b, 0xec]), Some(1));
        // MOV RBP, RSI; an instruction that the end of the code cuts off.
        assert_eq!(words(&[0x48, 0x89, 0xf5]), None);
        assert_eq!(words(&[0x48, 0x89]), None);
        assert_eq!(words(&[]), None);
    }
}
