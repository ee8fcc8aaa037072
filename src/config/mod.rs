//! Floor 1: what is wanted. Document, layers, merge, schema, and the store that alone touches the
//! state folder.

pub mod artefacts;
pub mod change;
pub mod document;
pub mod error;
pub mod files;
pub mod home;
pub mod identity_file;
pub mod layers;
pub mod load;
pub mod module;
pub mod path;
pub mod position;
pub mod schema;
pub mod store;
mod typed;
mod validate;
mod validate_rules;
