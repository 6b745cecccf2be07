//! From the tokens of a type to its implementation.

use proc_macro2::{Ident, Span, TokenStream, TokenTree};
use quote::{format_ident, quote, quote_spanned};
use syn::ext::IdentExt;
use syn::parse::{ParseStream, Parser};
use syn::spanned::Spanned;
use syn::{Attribute, Data, DeriveInput, Error, Fields, GenericParam, Index, Result, Type};

/// The implementation of `TensorTree` for a type.
pub(crate) fn expand(input: TokenStream) -> Result<TokenStream> {
    let input: DeriveInput = syn::parse2(input)?;
    refuse_attributes(&input.attrs, "a type")?;
    if let Some(lifetime) = input.generics.lifetimes().next() {
        let message = "a type that borrows cannot be rebuilt with other tensors; own them (a tensor's clone shares its \
                       storage), or pass a reference to the whole tree";
        return Err(Error::new_spanned(lifetime, message));
    }
    let variants = match &input.data {
        Data::Struct(data) => vec![Variant::new(None, &data.fields)?],
        Data::Enum(data) => {
            let mut variants = Vec::new();
            for variant in &data.variants {
                refuse_attributes(&variant.attrs, "a variant")?;
                variants.push(Variant::new(Some(&variant.ident), &variant.fields)?);
            }
            variants
        }
        Data::Union(data) => {
            let message = "`TensorTree` cannot know which field of a union is valid; use a struct or an enum";
            return Err(Error::new(data.union_token.span(), message));
        }
    };
    Ok(implementation(&input, &variants))
}

/// A struct, or one variant of an enum.
struct Variant<'a> {
    name: Option<&'a Ident>,
    fields: Vec<Field<'a>>,
    /// Its fields are in braces.
    named: bool,
}

struct Field<'a> {
    /// As the source has it, for patterns; `None` in tuples.
    name: Option<&'a Ident>,
    ty: &'a Type,
    kind: Kind,
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Tree,
    Static,
    /// A static `f32` or `f64`.
    Float,
}

impl<'a> Variant<'a> {
    fn new(name: Option<&'a Ident>, fields: &'a Fields) -> Result<Self> {
        let named = matches!(fields, Fields::Named(_));
        let field = |f: &'a syn::Field| {
            let kind = match (is_static(&f.attrs)?, is_float(&f.ty)) {
                (false, _) => Kind::Tree,
                (true, false) => Kind::Static,
                (true, true) => Kind::Float,
            };
            Ok(Field { name: f.ident.as_ref(), ty: &f.ty, kind })
        };
        Ok(Variant { name, fields: fields.iter().map(field).collect::<Result<_>>()?, named })
    }

    /// `Self`, or `Self::Name`.
    fn path(&self) -> TokenStream {
        self.name.map_or_else(|| quote!(Self), |name| quote!(Self::#name))
    }

    /// `{ a: f0, b: f1 }`, or `{ 0: f0 }` for tuples, with the given values.
    fn body(&self, values: impl Iterator<Item = TokenStream>) -> TokenStream {
        let members = self.fields.iter().enumerate().map(|(i, field)| match field.name {
            Some(name) => quote!(#name),
            None => {
                let index = Index::from(i);
                quote!(#index)
            }
        });
        quote!({ #(#members: #values),* })
    }

    fn binding(i: usize) -> Ident {
        format_ident!("__f{i}", span = Span::mixed_site())
    }

    fn pattern(&self) -> TokenStream {
        let path = self.path();
        let body = self.body((0..self.fields.len()).map(|i| {
            let binding = Self::binding(i);
            quote!(#binding)
        }));
        quote!(#path #body)
    }

    /// The name of a field in paths: without `r#`, and a position for tuples.
    fn step(&self, i: usize) -> TokenStream {
        match self.fields[i].name {
            Some(name) if self.named => {
                let text = name.unraw().to_string();
                quote!(::fornax::tree::Step::Name(#text))
            }
            _ => quote!(::fornax::tree::Step::Index(#i)),
        }
    }

    fn visit(&self) -> TokenStream {
        let pattern = self.pattern();
        let chosen = self.name.map(|name| {
            let text = name.unraw().to_string();
            quote!(__visitor.variant(#text);)
        });
        let steps = self.fields.iter().enumerate().map(|(i, field)| {
            let (binding, step) = (Self::binding(i), self.step(i));
            let span = field.ty.span();
            match field.kind {
                Kind::Tree => quote_spanned!(span=> __visitor.child(#step, #binding);),
                Kind::Static => quote_spanned!(span=> __visitor.fixed(#step, #binding);),
                Kind::Float => {
                    quote_spanned!(span=> __visitor.float(#step, *#binding);)
                }
            }
        });
        quote!(#pattern => { #chosen #(#steps)* })
    }

    fn map(&self) -> TokenStream {
        let (pattern, path) = (self.pattern(), self.path());
        let values = self.fields.iter().enumerate().map(|(i, field)| {
            let (binding, step) = (Self::binding(i), self.step(i));
            let span = field.ty.span();
            match field.kind {
                Kind::Tree => quote_spanned!(span=> __mapper.child(#step, #binding)),
                Kind::Static | Kind::Float => quote_spanned!(span=> ::core::clone::Clone::clone(#binding)),
            }
        });
        let body = self.body(values);
        quote!(#pattern => #path #body)
    }
}

fn implementation(input: &DeriveInput, variants: &[Variant<'_>]) -> TokenStream {
    let name = &input.ident;
    let mut generics = input.generics.clone();
    let fields = || variants.iter().flat_map(|v| &v.fields);
    for param in &input.generics.params {
        let GenericParam::Type(param) = param else { continue };
        let ident = &param.ident;
        let bounds = &mut generics.make_where_clause().predicates;
        if fields().any(|f| f.kind == Kind::Tree && mentions(f.ty, ident)) {
            bounds.push(syn::parse_quote!(#ident: ::fornax::TensorTree<Owned = #ident>));
        }
        if fields().any(|f| f.kind == Kind::Static && mentions(f.ty, ident)) {
            bounds.push(syn::parse_quote!(#ident: ::fornax::tree::StaticValue + ::core::clone::Clone));
        }
    }
    let (params, arguments, bounds) = generics.split_for_impl();
    let arms = |arms: Vec<TokenStream>| match arms.as_slice() {
        // A reference to a type without values is matched by looking through it.
        [] => quote!(match *self {}),
        arms => quote!(match self { #(#arms),* }),
    };
    let visits = arms(variants.iter().map(Variant::visit).collect());
    let maps = arms(variants.iter().map(Variant::map).collect());
    quote! {
        #[automatically_derived]
        impl #params ::fornax::TensorTree for #name #arguments #bounds {
            type Owned = Self;
            #[allow(unused_variables)]
            fn visit<'__a>(&'__a self, __visitor: &mut ::fornax::tree::Visitor<'_, '__a>) {
                #visits
            }
            #[allow(unused_variables)]
            fn map(&self, __mapper: &mut ::fornax::tree::Mapper<'_>) -> Self {
                #maps
            }
        }
    }
}

/// Whether a type names a parameter.
fn mentions(ty: &Type, parameter: &Ident) -> bool {
    let mut open: Vec<TokenTree> = quote!(#ty).into_iter().collect();
    while let Some(token) = open.pop() {
        match token {
            TokenTree::Ident(ident) if ident == *parameter => return true,
            TokenTree::Group(group) => open.extend(group.stream()),
            _ => {}
        }
    }
    false
}

fn is_float(ty: &Type) -> bool {
    let text = quote!(#ty).to_string();
    text == "f32" || text == "f64"
}

/// Whether a field is marked `#[tensor(static)]`.
fn is_static(attributes: &[Attribute]) -> Result<bool> {
    let mut found = false;
    for attribute in attributes.iter().filter(|a| a.path().is_ident("tensor")) {
        let option = |stream: ParseStream<'_>| {
            let option = stream.call(Ident::parse_any)?;
            let rest: TokenStream = stream.parse()?;
            if option != "static" || !rest.is_empty() {
                let message = format!(
                    "unknown option `{option}{rest}`; `#[tensor(static)]` marks a field that is configuration"
                );
                return Err(Error::new(option.span(), message));
            }
            Ok(())
        };
        let list = attribute
            .meta
            .require_list()
            .map_err(|_| Error::new_spanned(attribute, "the option is missing; write `#[tensor(static)]`"))?;
        if list.tokens.is_empty() {
            return Err(Error::new_spanned(attribute, "the option is missing; write `#[tensor(static)]`"));
        }
        option.parse2(list.tokens.clone())?;
        if std::mem::replace(&mut found, true) {
            return Err(Error::new_spanned(attribute, "`#[tensor(static)]` is there twice"));
        }
    }
    Ok(found)
}

fn refuse_attributes(attributes: &[Attribute], place: &str) -> Result<()> {
    match attributes.iter().find(|a| a.path().is_ident("tensor")) {
        Some(attribute) => {
            let message = format!("`#[tensor(..)]` belongs on a field, not on {place}");
            Err(Error::new_spanned(attribute, message))
        }
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests;
