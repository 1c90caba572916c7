//! The tokenizer behind a C handle.

use std::sync::Arc;
use std::time::Duration;

use hf::Tokenizer;

use crate::cell::{self, Allowance};
use crate::decode::Pieces;
use crate::floor::Floor;
use crate::mark::Controls;
use crate::{file, guard};

/// A loaded tokenizer; read-only after loading, so any number of threads may use it.
pub struct Text {
    pub tokenizer: Tokenizer,
    pub pieces: Pieces,
    pub controls: Controls,
    pub floor: Option<Floor>,
}

/// What a C pointer points to. Streams hold the `Arc`, so closing the tokenizer first is harmless.
pub struct Handle(pub Arc<Text>);

impl Handle {
    /// Loads a tokenizer.json.
    pub fn load(json: Vec<u8>) -> Result<Handle, String> {
        if json.len() > file::FILE_MAX {
            return Err(format!("the file has {} bytes, at most {} are read", json.len(), file::FILE_MAX));
        }
        // Twenty times what real files take.
        let allowed = Allowance {
            time: Duration::from_secs(5) + Duration::from_micros(1) * json.len() as u32,
            memory: (256 << 20) + 256 * json.len(),
        };
        cell::run(allowed, move || Handle::load_here(&json))?
    }

    fn load_here(json: &[u8]) -> Result<Handle, String> {
        let file::Read { tokenizer, size, floor } = file::read(json)?;
        let pieces = Pieces::new(&tokenizer, size)?;
        let controls = Controls::new(&tokenizer);
        Ok(Handle(Arc::new(Text { tokenizer, pieces, controls, floor })))
    }

    /// Changes the tokenizer before anybody else has seen the handle.
    pub fn adjust(self, f: impl FnOnce(&mut Tokenizer) -> Result<(), String>) -> Result<Handle, String> {
        guard::run(|| {
            let mut text = self.0;
            let inner = Arc::get_mut(&mut text).ok_or("the tokenizer is already in use")?;
            f(&mut inner.tokenizer)?;
            Ok(Handle(text))
        })
    }

    pub fn into_raw(self) -> *mut Handle {
        Box::into_raw(Box::new(self))
    }
}
