//! What must not become durable does not compile, and the message says what to do instead.

#[test]
#[cfg_attr(miri, ignore = "compiles programs")]
fn what_must_not_be_durable_does_not_compile() {
    trybuild::TestCases::new().compile_fail("tests/ui/*.rs");
}
