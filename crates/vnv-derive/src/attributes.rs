//! `#[repr(..)]` and `#[durable(..)]`.

use proc_macro2::{Span, TokenStream as Tokens};
use quote::quote;
use syn::{DeriveInput, Error, Ident, LitInt, LitStr, Path, Result};

pub struct Attributes {
    pub krate: Tokens,
    pub name: String,
    pub version: u16,
    pub repr_c: bool,
    /// The integer type of the tag.
    pub tag: Option<Ident>,
}

const INTEGERS: [&str; 8] = ["u8", "u16", "u32", "u64", "i8", "i16", "i32", "i64"];

impl Attributes {
    pub fn read(input: &DeriveInput) -> Result<Self> {
        let mut read =
            Self { krate: default_crate(), name: input.ident.to_string(), version: 1, repr_c: false, tag: None };
        for attribute in &input.attrs {
            if attribute.path().is_ident("repr") {
                attribute.parse_nested_meta(|meta| {
                    let Some(ident) = meta.path.get_ident() else { return Ok(()) };
                    if ident == "C" || ident == "transparent" {
                        read.repr_c = true;
                    } else if ident == "packed" {
                        return Err(Error::new_spanned(
                            ident,
                            "a packed type cannot be durable: its fields could not be borrowed",
                        ));
                    } else if INTEGERS.iter().any(|integer| ident == integer) {
                        read.tag = Some(ident.clone());
                    } else if meta.input.peek(syn::token::Paren) {
                        let content;
                        syn::parenthesized!(content in meta.input);
                        let _alignment: LitInt = content.parse()?;
                    }
                    Ok(())
                })?;
            } else if attribute.path().is_ident("durable") {
                attribute.parse_nested_meta(|meta| {
                    if meta.path.is_ident("name") {
                        read.name = meta.value()?.parse::<LitStr>()?.value();
                    } else if meta.path.is_ident("version") {
                        read.version = meta.value()?.parse::<LitInt>()?.base10_parse()?;
                    } else if meta.path.is_ident("crate") {
                        let path: Path = meta.value()?.parse()?;
                        read.krate = quote!(#path);
                    } else {
                        return Err(meta.error("expected `name = \"...\"`, `version = n` or `crate = path`"));
                    }
                    Ok(())
                })?;
            }
        }
        if read.name.is_empty() || read.name.len() > 255 {
            return Err(Error::new(Span::call_site(), "the name of a durable type has 1 to 255 bytes"));
        }
        Ok(read)
    }
}

/// Where the traits are: in `vnv_core`, or re-exported by `vnv_persist`, under whatever name the manifest gives them.
fn default_crate() -> Tokens {
    for (package, name) in [("vnv-core", "vnv_core"), ("vnv-persist", "vnv_persist")] {
        let found = match proc_macro_crate::crate_name(package) {
            Ok(proc_macro_crate::FoundCrate::Name(renamed)) => renamed,
            Ok(proc_macro_crate::FoundCrate::Itself) => name.to_string(),
            Err(_) => continue,
        };
        let ident = Ident::new(&found, Span::call_site());
        return quote!(::#ident);
    }
    quote!(::vnv_core)
}
