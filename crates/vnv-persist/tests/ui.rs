//! A configuration that cannot be saved does not compile, and the error says by how much.

#[test]
#[cfg_attr(miri, ignore = "compiles programs")]
fn what_cannot_be_saved_does_not_compile() {
    trybuild::TestCases::new().compile_fail("tests/ui/*.rs");
}
