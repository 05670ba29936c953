//! `#[octopod::test]`.

use proc_macro2::{Span, TokenStream};
use quote::quote;
use syn::parse::{Parse, ParseStream};
use syn::punctuated::Punctuated;
use syn::{Attribute, Error, Expr, ExprLit, Ident, ItemFn, Lit, LitInt, LitStr, Meta, Token};

/// What a test has without an argument.
const DEFAULT_TIMEOUT_MS: u64 = 60_000;

/// The arguments of the attribute.
#[derive(Default)]
struct Arguments {
    /// How many CPUs run it; `None` for the BSP alone, 0 for all.
    cpus: Option<u32>,
    should_panic: bool,
    expected: Option<String>,
    timeout_ms: Option<u64>,
    machine: Option<String>,
    ignore: bool,
}

/// One argument.
struct Argument {
    name: Ident,
    value: Option<Value>,
}

enum Value {
    Number(LitInt),
    Text(LitStr),
    Word(Ident),
}

impl Parse for Argument {
    fn parse(input: ParseStream<'_>) -> syn::Result<Argument> {
        let name = input.parse()?;
        if !input.peek(Token![=]) {
            return Ok(Argument { name, value: None });
        }
        input.parse::<Token![=]>()?;
        let value = if input.peek(LitInt) {
            Value::Number(input.parse()?)
        } else if input.peek(LitStr) {
            Value::Text(input.parse()?)
        } else {
            Value::Word(input.parse()?)
        };
        Ok(Argument { name, value: Some(value) })
    }
}

impl Parse for Arguments {
    fn parse(input: ParseStream<'_>) -> syn::Result<Arguments> {
        let mut arguments = Arguments::default();
        for Argument { name, value } in Punctuated::<Argument, Token![,]>::parse_terminated(input)? {
            match (name.to_string().as_str(), value) {
                ("cpus", Some(Value::Word(word))) if word == "all" => arguments.cpus = Some(0),
                ("cpus", Some(Value::Number(number))) => match number.base10_parse()? {
                    0 => return Err(Error::new(number.span(), "a test runs on one CPU at least")),
                    cpus => arguments.cpus = Some(cpus),
                },
                ("should_panic", None) => arguments.should_panic = true,
                ("should_panic", Some(Value::Text(text))) => {
                    arguments.should_panic = true;
                    arguments.expected = Some(text.value());
                }
                ("timeout", Some(Value::Text(text))) => arguments.timeout_ms = Some(milliseconds(&text)?),
                ("machine", Some(Value::Text(text))) => arguments.machine = Some(text.value()),
                ("ignore", None) => arguments.ignore = true,
                _ => {
                    let known = "the arguments of a test are cpus = N, cpus = all, should_panic, should_panic = \"TEXT\", \
                                 timeout = \"5s\", machine = \"pc\" and ignore";
                    return Err(Error::new(name.span(), known));
                }
            }
        }
        Ok(arguments)
    }
}

/// Reads a time: a whole number with `s` or `ms`.
fn milliseconds(text: &LitStr) -> syn::Result<u64> {
    let value = text.value();
    let parsed = match value.strip_suffix("ms") {
        Some(number) => number.trim().parse().ok(),
        None => {
            value.strip_suffix('s').and_then(|number| number.trim().parse::<u64>().ok()?.checked_mul(1000))
        }
    };
    parsed.filter(|ms| (1..=86_400_000).contains(ms)).ok_or_else(|| {
        Error::new(text.span(), "a time is a whole number of seconds or milliseconds: \"5s\", \"500ms\"")
    })
}

/// Refuses attributes of libtest, which know only libtest's tests: beside this one they would be without effect. The compiler passes the
/// attributes on both sides of this one.
fn check_attributes(attributes: &[Attribute]) -> syn::Result<()> {
    attributes.iter().try_for_each(|attribute| check_meta(&attribute.meta))
}

fn check_meta(meta: &Meta) -> syn::Result<()> {
    let known = ["ignore", "should_panic", "test", "bench", "cfg_attr"];
    let Some(name) = known.into_iter().find(|name| meta.path().is_ident(name)) else { return Ok(()) };
    let nested = || -> Punctuated<Meta, Token![,]> {
        let list = meta.require_list();
        list.and_then(|list| list.parse_args_with(Punctuated::parse_terminated)).unwrap_or_default()
    };
    let reason = match name {
        // The first is the condition.
        "cfg_attr" => return nested().iter().skip(1).try_for_each(check_meta),
        "ignore" => {
            "`#[ignore]` is without effect on a test of octopod: write `#[octopod::test(ignore)]`".to_owned()
        }
        "should_panic" => {
            let text = text_of(meta).or_else(|| nested().iter().find_map(text_of));
            let value = text.map_or(String::new(), |text| format!(" = {text:?}"));
            format!(
                "`#[should_panic]` is without effect on a test of octopod: write `#[octopod::test(should_panic{value})]`"
            )
        }
        _ => format!("a function is a test of octopod or one of libtest: remove `#[{name}]`"),
    };
    Err(Error::new_spanned(meta, reason))
}

/// The text of `name = "text"`.
fn text_of(meta: &Meta) -> Option<String> {
    match meta {
        Meta::NameValue(value) => match &value.value {
            Expr::Lit(ExprLit { lit: Lit::Str(text), .. }) => Some(text.value()),
            _ => None,
        },
        _ => None,
    }
}

pub(crate) fn expand(arguments: TokenStream, item: TokenStream) -> syn::Result<TokenStream> {
    let Arguments { cpus, should_panic, expected, timeout_ms, machine, ignore } = syn::parse2(arguments)?;
    let function: ItemFn = syn::parse2(item)?;
    check_attributes(&function.attrs)?;
    let signature = &function.sig;
    if let Some(argument) = signature.inputs.first() {
        return Err(Error::new_spanned(argument, "a test takes no argument"));
    }
    if !signature.generics.params.is_empty() {
        return Err(Error::new_spanned(&signature.generics, "a test has no generic parameters"));
    }
    if let Some(word) = &signature.asyncness {
        return Err(Error::new_spanned(word, "a test is a plain function"));
    }
    let name = &signature.ident;
    let text = name.to_string();
    let (cpus, timeout_ms) = (cpus.unwrap_or(1), timeout_ms.unwrap_or(DEFAULT_TIMEOUT_MS));
    let (expected, machine) = (expected.unwrap_or_default(), machine.unwrap_or_default());
    let registered = Ident::new("OCTOPOD_TEST", Span::mixed_site());
    Ok(quote! {
        #[cfg(test)]
        #function

        #[cfg(test)]
        const _: () = {
            #[::octopod::registry::linkme::distributed_slice(::octopod::testing::TESTS)]
            #[linkme(crate = ::octopod::registry::linkme)]
            static #registered: ::octopod::testing::Test = ::octopod::testing::Test {
                header: ::octopod::registry::Header::new(
                    ::core::concat!(::core::module_path!(), "::", #text),
                    "",
                    ::core::file!(),
                    ::core::line!(),
                ),
                run: || {
                    use ::octopod::testing::{WayOfDisplay as _, WayOfOutcome as _};
                    let returned = #name();
                    (&returned).way().check(returned)
                },
                cpus: #cpus,
                timeout_ms: #timeout_ms,
                should_panic: #should_panic,
                ignore: #ignore,
                expected: ::octopod::registry::Text::new(#expected),
                machine: ::octopod::registry::Text::new(#machine),
            };
        };
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expanded(arguments: &str, item: &str) -> Result<String, String> {
        let tokens = expand(arguments.parse().unwrap(), item.parse().unwrap());
        tokens.map(|tokens| tokens.to_string()).map_err(|error| error.to_string())
    }

    #[test]
    fn arguments_are_fields_of_the_registered_test() {
        let all = expanded("cpus = all, timeout = \"500ms\", machine = \"pc\"", "fn a() {}").unwrap();
        for part in ["cpus : 0u32", "timeout_ms : 500u64", "should_panic : false", "Text :: new (\"pc\")"] {
            assert!(all.contains(part), "{part}: {all}");
        }
        let panics = expanded("cpus = 3, should_panic = \"out of\"", "fn a() {}").unwrap();
        for part in
            ["cpus : 3u32", "timeout_ms : 60000u64", "should_panic : true", "Text :: new (\"out of\")"]
        {
            assert!(panics.contains(part), "{part}: {panics}");
        }
        assert!(expanded("", "fn a() {}").unwrap().contains("cpus : 1u32"));
    }

    #[test]
    fn attributes_of_libtest_are_refused_with_the_argument_to_write() {
        for (attribute, reason) in [
            ("#[ignore]", "write `#[octopod::test(ignore)]`"),
            ("#[ignore = \"slow\"]", "write `#[octopod::test(ignore)]`"),
            ("#[should_panic]", "write `#[octopod::test(should_panic)]`"),
            ("#[should_panic = \"oh\"]", "write `#[octopod::test(should_panic = \"oh\")]`"),
            ("#[should_panic(expected = \"oh\")]", "write `#[octopod::test(should_panic = \"oh\")]`"),
            ("#[test]", "remove `#[test]`"),
            ("#[bench]", "remove `#[bench]`"),
        ] {
            let error = expanded("", &format!("#[inline] {attribute} fn a() {{}}")).unwrap_err();
            assert!(error.ends_with(reason), "{attribute}: {error}");
        }
        let error = expanded("", "#[cfg_attr(debug_assertions, cold, ignore)] fn a() {}").unwrap_err();
        assert!(error.contains("octopod::test(ignore)"), "{error}");
        assert!(expanded("", "#[inline] #[cfg_attr(ignore, cold)] fn a() {}").is_ok());
    }

    #[test]
    fn what_is_no_test_is_refused() {
        for (arguments, item, reason) in [
            ("cpu = 1", "fn a() {}", "the arguments of a test are"),
            ("cpus = some", "fn a() {}", "the arguments of a test are"),
            ("cpus = 0", "fn a() {}", "one CPU at least"),
            ("timeout = \"5\"", "fn a() {}", "whole number of seconds"),
            ("timeout = \"0s\"", "fn a() {}", "whole number of seconds"),
            ("", "fn a(b: u32) {}", "takes no argument"),
            ("", "fn a<T>() {}", "no generic parameters"),
            ("", "async fn a() {}", "plain function"),
        ] {
            let error = expanded(arguments, item).unwrap_err();
            assert!(error.contains(reason), "{arguments} {item}: {error}");
        }
    }
}
