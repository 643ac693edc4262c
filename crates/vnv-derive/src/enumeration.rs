//! Enums: a tag, and the payload of the active variant (RFC 2195: a union of `repr(C)` structs that begin with the tag).

use crate::attributes::Attributes;
use proc_macro2::TokenStream as Tokens;
use quote::{format_ident, quote};
use syn::{DataEnum, DeriveInput, Error, Result};

pub fn expand(input: &DeriveInput, data: &DataEnum, attributes: &Attributes) -> Result<Tokens> {
    let (ident, krate) = (&input.ident, &attributes.krate);
    let Some(tag) = attributes.tag.as_ref().filter(|_| !attributes.repr_c) else {
        return Err(Error::new_spanned(
            ident,
            "a durable enum needs an integer representation alone, such as `#[repr(u8)]`, without `C`: its tag is stored",
        ));
    };
    if !input.generics.params.is_empty() {
        return Err(Error::new_spanned(
            &input.generics,
            "a durable enum cannot be generic: use `Maybe<T>`, or one enum per type",
        ));
    }
    if data.variants.is_empty() || data.variants.len() > 255 {
        return Err(Error::new_spanned(ident, "a durable enum has 1 to 255 variants"));
    }
    let (name, version, count) = (&attributes.name, attributes.version, data.variants.len() as u8);
    let mut mirrors = Vec::new();
    let mut tags = Vec::new();
    let (mut schema, mut valid, mut padding) = (Vec::new(), Vec::new(), Vec::new());
    let (mut links, mut pads) = (Vec::new(), Vec::new());
    for (number, variant) in data.variants.iter().enumerate() {
        let value = format_ident!("TAG_{number}");
        let mirror = format_ident!("Variant{number}");
        let expression = match &variant.discriminant {
            Some((_, expression)) => quote!(#expression),
            None if number == 0 => quote!(0),
            None => {
                let previous = format_ident!("TAG_{}", number - 1);
                quote!(#previous + 1)
            }
        };
        tags.push(quote!(const #value: #tag = #expression;));
        let types: Vec<_> = variant.fields.iter().map(|field| &field.ty).collect();
        let fields: Vec<_> = (0..types.len()).map(|at| format_ident!("field{at}")).collect();
        let names: Vec<String> = variant
            .fields
            .iter()
            .enumerate()
            .map(|(at, field)| field.ident.as_ref().map_or_else(|| at.to_string(), ToString::to_string))
            .collect();
        let (variant_name, field_count) = (variant.ident.to_string(), types.len() as u8);
        mirrors.push(quote! {
            #[repr(C)]
            struct #mirror { tag: #tag, #(#fields: #types),* }
        });
        schema.push(quote! {
            .name(#variant_name).i64(#value as i64).byte(#field_count)
            #(.name(#names).u32(::core::mem::offset_of!(#mirror, #fields)).bytes(<#types as #krate::Durable>::SCHEMA))*
        });
        valid.push(quote! {
            if tag == #value {
                return true #(&& {
                    let at = ::core::mem::offset_of!(#mirror, #fields);
                    bytes
                        .get(at..at + ::core::mem::size_of::<#types>())
                        .is_some_and(<#types as #krate::Durable>::is_valid)
                })*;
            }
        });
        padding.push(quote! {
            if tag == #value {
                #(
                    let at = ::core::mem::offset_of!(#mirror, #fields);
                    #krate::durable::zero(value, end, at);
                    <#types as #krate::Durable>::initialise_padding(value.byte_add(at).cast::<#types>());
                    end = at + ::core::mem::size_of::<#types>();
                )*
            }
        });
        links.push(quote!(#(|| <#types as #krate::Durable>::HAS_LINKS)*));
        pads.push(quote! {
            #(|| <#types as #krate::Durable>::HAS_PADDING)*
            || ::core::mem::size_of::<#tag>() #(+ ::core::mem::size_of::<#types>())* != ::core::mem::size_of::<#ident>()
        });
    }
    Ok(quote! {
        const _: () = {
            #(#[allow(dead_code)] #mirrors)*
            #(#[allow(dead_code)] #tags)*
            const WRITER: #krate::schema::SchemaWriter = #krate::schema::SchemaWriter::new()
                .byte(#krate::schema::kind::ENUM)
                .name(#name)
                .u16(#version)
                .u32(::core::mem::size_of::<#ident>())
                .byte(::core::mem::align_of::<#ident>() as u8)
                .byte(::core::mem::size_of::<#tag>() as u8)
                .byte(#count)
                #(#schema)*;
            const BYTES: [u8; WRITER.len()] = WRITER.exact();

            // SAFETY: derived: the representation is fixed (RFC 2195), the schema is made from it, every field is
            // durable, only known tags are valid, and the bytes of no field of the active variant are zeroed.
            #[automatically_derived]
            unsafe impl #krate::Durable for #ident {
                const SCHEMA: &'static [u8] = &BYTES;
                const HAS_LINKS: bool = false #(#links)*;
                const HAS_PADDING: bool = false #(#pads)*;

                fn is_valid(bytes: &[u8]) -> bool {
                    let Some(tag) = bytes.first_chunk().map(|tag| #tag::from_ne_bytes(*tag)) else { return false };
                    #(#valid)*
                    false
                }

                unsafe fn initialise_padding(value: *mut Self) {
                    #[allow(unused_mut)]
                    let mut end = ::core::mem::size_of::<#tag>();
                    // SAFETY: the caller's word; a value begins with its tag, and the active variant's fields lie
                    // as in its mirror.
                    unsafe {
                        let tag = value.cast::<#tag>().read();
                        #(#padding)*
                        #krate::durable::zero(value, end, ::core::mem::size_of::<Self>());
                    }
                }
            }
        };
    })
}
