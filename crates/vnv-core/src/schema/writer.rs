//! Building schemas at compile time.

/// Longest schema in bytes.
pub const MAX_SCHEMA: usize = 1024;

/// A schema under construction, in `const` code.
#[derive(Clone, Copy, Debug)]
pub struct SchemaWriter {
    bytes: [u8; MAX_SCHEMA],
    len: usize,
}

impl SchemaWriter {
    /// An empty schema.
    #[must_use]
    pub const fn new() -> Self {
        Self { bytes: [0; MAX_SCHEMA], len: 0 }
    }

    /// Appends a byte.
    #[must_use]
    pub const fn byte(mut self, byte: u8) -> Self {
        assert!(
            self.len < MAX_SCHEMA,
            "the schema of this type is longer than 1024 bytes: split the type, or shorten names"
        );
        self.bytes[self.len] = byte;
        self.len += 1;
        self
    }

    /// Appends bytes.
    #[must_use]
    pub const fn bytes(mut self, bytes: &[u8]) -> Self {
        let mut at = 0;
        while at < bytes.len() {
            self = self.byte(bytes[at]);
            at += 1;
        }
        self
    }

    /// Appends a `u16`.
    #[must_use]
    pub const fn u16(self, value: u16) -> Self {
        self.bytes(&value.to_le_bytes())
    }

    /// Appends a size, offset or count.
    #[must_use]
    pub const fn u32(self, value: usize) -> Self {
        self.bytes(&(value as u32).to_le_bytes())
    }

    /// Appends a tag value.
    #[must_use]
    pub const fn i64(self, value: i64) -> Self {
        self.bytes(&value.to_le_bytes())
    }

    /// Appends a name.
    #[must_use]
    pub const fn name(self, name: &str) -> Self {
        assert!(name.len() <= 255, "names of durable types and fields have at most 255 bytes");
        self.byte(name.len() as u8).bytes(name.as_bytes())
    }

    /// The bytes so far.
    #[must_use]
    pub const fn as_slice(&self) -> &[u8] {
        self.bytes.split_at(self.len).0
    }

    /// How many bytes so far.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether nothing was appended.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The bytes as an array of exactly their number.
    #[must_use]
    pub const fn exact<const N: usize>(&self) -> [u8; N] {
        let mut exact = [0; N];
        let mut at = 0;
        while at < N {
            exact[at] = self.bytes[at];
            at += 1;
        }
        exact
    }
}

impl Default for SchemaWriter {
    fn default() -> Self {
        Self::new()
    }
}
