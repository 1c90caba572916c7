//! Tokenizers and chat templates for the engine, as a C library.
//!
//! Two sets of functions leave this crate. `tokenizers_*` is what the Go package
//! github.com/daulet/tokenizers links to. `shammah_text_*` is what that package lacks: text passed
//! with its length, errors that say why, streaming decode, and templates. Both work on one handle,
//! so a tokenizer is in memory once.
//!
//! The files that arrive here come from the internet. Every export runs under [`guard::run`], which
//! turns a panic into an error; what could abort the process instead of panicking (stack, memory) is
//! kept apart, in [`cell`].

mod cell;
mod daulet;
mod decode;
mod encode;
mod exports;
mod file;
mod floor;
mod guard;
mod handle;
mod mark;
mod template;
