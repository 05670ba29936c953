//! The attributes of octopod. The crate `octopod` exports them.

mod test;

use proc_macro::TokenStream;

/// Makes a function a test that runs in the kernel, on a machine that is booted for it: `cargo test` lists and runs it.
///
/// The function takes no argument. It returns nothing, or a `Result` whose error implements `Display` or `Debug`; an error or a panic
/// fails the test. The error is shown by its `Display`, if it has one: a `Reason` with the place of the `?`. The machine is the one of `[package.metadata.octopod]`. Tests run one after the other; after a panic or a hang the
/// machine is booted again for the rest.
///
/// | argument | what it does |
/// |---|---|
/// | `cpus = N` | The function runs on `N` CPUs at once, and the machine has at least as many. Without it, on the BSP alone. |
/// | `cpus = all` | The function runs on all CPUs at once. |
/// | `should_panic`, `should_panic = "TEXT"` | The test passes if it panics, with a message that contains `TEXT`. |
/// | `timeout = "5s"`, `"500ms"` | The test fails if it takes longer on the machine; 60 s without it. |
/// | `machine = "pc"` | The test has a machine of its own: the value of `--machine`. |
/// | `ignore` | The test runs only with `--ignored` or `--include-ignored`. |
///
/// Attributes of libtest, `#[ignore]`, `#[should_panic]`, `#[test]` and `#[bench]`, are refused beside it.
///
/// ```ignore
/// #[octopod::test(cpus = all)]
/// fn frames_are_disjoint() {
///     let frame = OwnedFrame::alloc().expect("a frame");
///     assert!(frame.start().is_multiple_of(4096));
/// }
/// ```
///
/// **Context:** thread, interrupts on. The function may block.
///
/// Without `cfg(test)` the function does not exist. Cargo sets it for `cargo test`; the target needs `harness = false`.
#[proc_macro_attribute]
pub fn test(arguments: TokenStream, item: TokenStream) -> TokenStream {
    test::expand(arguments.into(), item.into()).unwrap_or_else(syn::Error::into_compile_error).into()
}
