#![doc = include_str!("../README.md")]

mod attributes;
mod enumeration;
mod structure;

use proc_macro::TokenStream;
use proc_macro2::TokenStream as Tokens;
use quote::quote;
use syn::{Data, DeriveInput, Error, GenericParam, Result, parse_macro_input};

/// Derives `vnv_core::Durable` and `vnv_core::Named`.
///
/// For structs with `#[repr(C)]` or `#[repr(transparent)]`, and enums with an integer representation
/// (`#[repr(u8)]` and so on), all of whose fields are durable.
///
/// `#[durable(name = "...")]` gives the type another name in the image than its identifier,
/// `#[durable(version = 2)]` tells versions of a type apart, `#[durable(crate = path)]` says where `vnv_core` is.
#[proc_macro_derive(Durable, attributes(durable))]
pub fn derive_durable(input: TokenStream) -> TokenStream {
    let input = parse_macro_input!(input as DeriveInput);
    expand(&input).unwrap_or_else(Error::into_compile_error).into()
}

fn expand(input: &DeriveInput) -> Result<Tokens> {
    let attributes = attributes::Attributes::read(input)?;
    if let Some(lifetime) = input.generics.params.iter().find(|param| matches!(param, GenericParam::Lifetime(_))) {
        return Err(Error::new_spanned(
            lifetime,
            "a durable type cannot borrow: references do not survive a power failure; use `Link<T>`",
        ));
    }
    let body = match &input.data {
        Data::Struct(data) => structure::expand(input, data, &attributes)?,
        Data::Enum(data) => enumeration::expand(input, data, &attributes)?,
        Data::Union(data) => {
            return Err(Error::new_spanned(
                data.union_token,
                "a union cannot be durable: nothing says which field is valid; use an enum with an integer representation",
            ));
        }
    };
    let (krate, name, ident) = (&attributes.krate, &attributes.name, &input.ident);
    let (impl_generics, type_generics, where_clause) = input.generics.split_for_impl();
    // A generic type is checked when it is used.
    let check = input.generics.params.is_empty().then(|| quote!(const _: () = #krate::durable::check::<#ident>();));
    Ok(quote! {
        #check
        impl #impl_generics #krate::Named for #ident #type_generics #where_clause {
            const NAME: &'static str = #name;
        }
        #body
    })
}
