//! What the macro makes of types, and what it says about those it cannot take.

use super::*;

fn expanded(source: &str) -> String {
    let tokens: TokenStream = source.parse().unwrap();
    expand(tokens).unwrap_or_else(|e| panic!("{source}: {e}")).to_string().replace(' ', "")
}

/// The message, and the text that it points to.
fn refused(source: &str) -> (String, String) {
    let error = expand(source.parse().unwrap()).expect_err(source);
    let (start, end) = (error.span().start(), error.span().end());
    assert_eq!((start.line, end.line), (1, 1), "the sources of these tests are one line long");
    (error.to_string(), source[start.column..end.column].to_string())
}

#[test]
fn fields_have_the_paths_of_their_names() {
    let named = expanded("struct Linear { weight: Tensor, r#type: Tensor, #[tensor(static)] heads: usize }");
    for part in [
        "implfornax::TensorTreeforLinear",
        "type Owned=Self;",
        "__visitor.child(::fornax::tree::Step::Name(\"weight\"),__f0);",
        "__visitor.child(::fornax::tree::Step::Name(\"type\"),__f1);",
        "__visitor.fixed(::fornax::tree::Step::Name(\"heads\"),__f2);",
        "weight:__mapper.child(",
        "heads:::core::clone::Clone::clone(__f2)",
    ] {
        let part = part.replace(' ', "");
        assert!(
            named.replace("::fornax::TensorTree", "fornax::TensorTree").contains(&part),
            "{part}\n{named}"
        );
    }
    let tuple = expanded("struct Pair(Tensor, #[tensor(static)] f32);");
    assert!(tuple.contains("__visitor.child(::fornax::tree::Step::Index(0usize),__f0);"), "{tuple}");
    assert!(tuple.contains("__visitor.float(::fornax::tree::Step::Index(1usize),"), "{tuple}");
    assert!(expanded("struct Nothing;").contains("matchself{Self{}=>{}}"));
}

#[test]
fn variants_are_part_of_the_structure() {
    let text = expanded("enum Norm { None, Layer { scale: Tensor }, Rms(Tensor) }");
    for part in [
        "Self::None{}=>{__visitor.variant(\"None\");}",
        "Self::Layer{scale:__f0}=>{__visitor.variant(\"Layer\");__visitor.child(",
        "Self::Rms{0:__f0}=>Self::Rms{0:__mapper.child(",
    ] {
        assert!(text.contains(part), "{part}\n{text}");
    }
}

#[test]
fn parameters_are_bound_by_what_holds_them() {
    let text = expanded(
        "struct Block<A, B, C, const N: usize> where A: Debug { a: Vec<[A; N]>, #[tensor(static)] b: B }",
    );
    assert!(text.contains("A:::fornax::TensorTree<Owned=A>"), "{text}");
    assert!(text.contains("B:::fornax::tree::StaticValue+::core::clone::Clone"), "{text}");
    assert!(!text.contains("C::"), "{text}");
    assert!(text.contains("forBlock<A,B,C,N>whereA:Debug,"), "{text}");
}

#[test]
fn errors_say_what_would_work_and_point_at_it() {
    let cases = [
        ("union U { a: Tensor }", "use a struct or an enum", "union"),
        ("struct S<'a> { x: &'a Tensor }", "own them", "'a"),
        ("struct S { #[tensor(sttaic)] n: usize }", "unknown option `sttaic`", "sttaic"),
        ("struct S { #[tensor(static = 1)] n: usize }", "unknown option `static= 1`", "static"),
        ("struct S { #[tensor] n: usize }", "write `#[tensor(static)]`", "#[tensor]"),
        ("struct S { #[tensor()] n: usize }", "write `#[tensor(static)]`", "#[tensor()]"),
        ("struct S { #[tensor(static)] #[tensor(static)] n: usize }", "twice", "#[tensor(static)]"),
        ("#[tensor(static)] struct S { n: usize }", "belongs on a field, not on a type", "#[tensor(static)]"),
        ("enum E { #[tensor(static)] A }", "not on a variant", "#[tensor(static)]"),
    ];
    for (source, message, place) in cases {
        let (found, at) = refused(source);
        assert!(found.contains(message), "{source}: {found}");
        assert_eq!(at, place, "{source}: {found}");
    }
}
