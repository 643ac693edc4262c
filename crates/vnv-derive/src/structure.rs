//! Structs.

use crate::attributes::Attributes;
use proc_macro2::TokenStream as Tokens;
use quote::{format_ident, quote};
use syn::{DataStruct, DeriveInput, Error, Index, Member, Result};

pub fn expand(input: &DeriveInput, data: &DataStruct, attributes: &Attributes) -> Result<Tokens> {
    let (ident, krate) = (&input.ident, &attributes.krate);
    if !attributes.repr_c {
        return Err(Error::new_spanned(
            ident,
            "a durable struct needs `#[repr(C)]`: Rust's own layout may change with every compiler",
        ));
    }
    if data.fields.len() > 255 {
        return Err(Error::new_spanned(ident, "a durable struct has at most 255 fields"));
    }
    let types: Vec<_> = data.fields.iter().map(|field| &field.ty).collect();
    let members: Vec<Member> = data
        .fields
        .iter()
        .enumerate()
        .map(|(at, field)| match &field.ident {
            Some(ident) => Member::Named(ident.clone()),
            None => Member::Unnamed(Index::from(at)),
        })
        .collect();
    let names: Vec<String> = members
        .iter()
        .map(|member| match member {
            Member::Named(ident) => ident.to_string(),
            Member::Unnamed(index) => index.index.to_string(),
        })
        .collect();
    let (name, version, count) = (&attributes.name, attributes.version, types.len() as u8);
    let mut generics = input.generics.clone();
    if !generics.params.is_empty() {
        let clause = generics.make_where_clause();
        types.iter().for_each(|ty| clause.predicates.push(syn::parse_quote!(#ty: #krate::Durable)));
        clause.predicates.push(syn::parse_quote!(Self: 'static));
    }
    let (impl_generics, type_generics, where_clause) = generics.split_for_impl();
    let writer = quote! {
        #krate::schema::SchemaWriter::new()
            .byte(#krate::schema::kind::STRUCT)
            .name(#name)
            .u16(#version)
            .u32(::core::mem::size_of::<Self>())
            .byte(::core::mem::align_of::<Self>() as u8)
            .byte(#count)
            #(.name(#names).u32(::core::mem::offset_of!(Self, #members)).bytes(<#types as #krate::Durable>::SCHEMA))*
    };
    let schema = if input.generics.params.is_empty() {
        let writer_name = format_ident!("WRITER");
        let fixed = quote!(#writer).to_string().replace("Self", &ident.to_string());
        let fixed: Tokens = fixed.parse().map_err(|_| Error::new_spanned(ident, "internal error"))?;
        quote! {
            const SCHEMA: &'static [u8] = {
                const #writer_name: #krate::schema::SchemaWriter = #fixed;
                const BYTES: [u8; #writer_name.len()] = #writer_name.exact();
                &BYTES
            };
        }
    } else {
        // The length of a generic type's schema cannot be an array length yet.
        quote! {
            const SCHEMA: &'static [u8] = {
                let writer: &'static #krate::schema::SchemaWriter = &const { #writer };
                writer.as_slice()
            };
        }
    };
    Ok(quote! {
        // SAFETY: derived: the representation is fixed, the schema is made from it, every field is durable, and
        // the bytes between and after the fields are zeroed.
        #[automatically_derived]
        unsafe impl #impl_generics #krate::Durable for #ident #type_generics #where_clause {
            #schema
            const HAS_LINKS: bool = false #(|| <#types as #krate::Durable>::HAS_LINKS)*;
            const HAS_PADDING: bool = false #(|| <#types as #krate::Durable>::HAS_PADDING)*
                || 0 #(+ ::core::mem::size_of::<#types>())* != ::core::mem::size_of::<Self>();

            fn is_valid(bytes: &[u8]) -> bool {
                let _ = bytes;
                true #(&& {
                    let at = ::core::mem::offset_of!(Self, #members);
                    bytes
                        .get(at..at + ::core::mem::size_of::<#types>())
                        .is_some_and(<#types as #krate::Durable>::is_valid)
                })*
            }

            unsafe fn initialise_padding(value: *mut Self) {
                let mut end = 0;
                // SAFETY: the caller's word; only bytes between fields are zeroed here.
                unsafe {
                    #(
                        let at = ::core::mem::offset_of!(Self, #members);
                        #krate::durable::zero(value, end, at);
                        <#types as #krate::Durable>::initialise_padding(&raw mut (*value).#members);
                        end = at + ::core::mem::size_of::<#types>();
                    )*
                    #krate::durable::zero(value, end, ::core::mem::size_of::<Self>());
                }
            }
        }
    })
}
