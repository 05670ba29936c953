use super::*;

fn of(name: &str) -> Option<String> {
    (name == "list").then(|| "a\n\nb\n".to_owned())
}

#[test]
fn a_block_is_replaced_and_the_rest_stays() {
    let old = "x\n<!-- generated: list -->\nold\n<!-- end -->\ny\n";
    let new = "x\n<!-- generated: list -->\n\na\n\nb\n\n<!-- end -->\ny\n";
    assert_eq!(replace(old, "", of).as_deref(), Ok(new));
    assert_eq!(replace(new, "", of).as_deref(), Ok(new));
    assert_eq!(first_difference(old, new), Some((3, "old".to_owned(), String::new())));
    assert_eq!(first_difference(new, new), None);
    assert_eq!(first_difference("a\n", "a\nb\n"), Some((2, "(the end)".to_owned(), "b".to_owned())));
    let source = "//! <!-- generated: list -->\n//! <!-- end -->\nmod x;\n";
    let fresh = "//! <!-- generated: list -->\n//!\n//! a\n//!\n//! b\n//!\n//! <!-- end -->\nmod x;\n";
    assert_eq!(replace(source, "//! ", of).as_deref(), Ok(fresh));
}

#[test]
fn a_block_without_a_known_name_or_an_end_is_an_error() {
    let error = |text: &str| replace(text, "", of).unwrap_err();
    assert_eq!(error("<!-- generated: lists -->\n<!-- end -->\n"), "there is no block `lists`");
    assert_eq!(error("<!-- generated: list -->\nold\n"), "block `list` has no end");
    assert_eq!(error("<!-- generated: list\n"), "`<!-- generated: list` is no begin of a block");
}

#[test]
fn the_first_sentences_of_a_module_are_taken() {
    let source = "//! Layer 4: the [`x`] of\n//! y. It has a second sentence that is long enough. More.\n//!\n//! Else.\n";
    assert_eq!(
        first_sentences(source, "m", 4),
        "The `x` of y. It has a second sentence that is long enough."
    );
    assert_eq!(first_sentences("//! One. Two:\n//!\n//! Else.\n", "m", 4), "One. Two.");
}

#[test]
#[should_panic(expected = "the documentation of m has another layer")]
fn a_module_that_documents_another_layer_is_found() {
    first_sentences("//! Layer 4: x.\n", "m", 5);
}
