//! `#[octopod::test]`.

use proc_macro2::{Span, TokenStream};
use quote::quote;
use syn::parse::{Parse, ParseStream};
use syn::punctuated::Punctuated;
use syn::{Error, Ident, ItemFn, LitInt, LitStr, Token};

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

pub(crate) fn expand(arguments: TokenStream, item: TokenStream) -> syn::Result<TokenStream> {
    let Arguments { cpus, should_panic, expected, timeout_ms, machine, ignore } = syn::parse2(arguments)?;
    let function: ItemFn = syn::parse2(item)?;
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
                run: || ::octopod::testing::Outcome::check(#name()),
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
