//! Floor 1: what is wanted. Document, layers, merge, schema, and the store that alone touches the
//! state folder.

pub mod change;
pub mod document;
pub mod path;
