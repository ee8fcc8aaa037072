//! Why something cannot be sealed or opened.

/// Why something cannot be sealed or opened. Says nothing of the content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// The text is no key of the kind that is expected.
    #[error("not a key: expected {0}")]
    NotAKey(&'static str),
    /// A key with which everybody, or nobody, could open.
    #[error("the key is of no use for sealing")]
    WeakKey,
    /// There is nobody to seal to.
    #[error("there is nobody to seal it to")]
    NoRecipient,
    /// The bytes are no age file.
    #[error("not an age file (version 1)")]
    NotSealed,
    /// It is an age file, and another key opens it.
    #[error("this key does not open it")]
    WrongKey,
    /// Some byte is not what it was.
    #[error("it was altered or cut short")]
    Altered,
    /// It holds what no text is.
    #[error("it holds no text (UTF-8)")]
    NoText,
}
