//! What a part was asked to do.

/// What a [`Fram`](crate::Fram) was asked to do since it was made or its counters were reset.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct BusCounters {
    /// Frames: falls of chip select.
    pub frames: u64,
    /// Frames by their opcode.
    pub frames_by_opcode: [u64; 256],
    /// Data bytes that READ has put out.
    pub bytes_read: u64,
    /// Data bytes that WRITE has stored.
    pub bytes_written: u64,
    /// Clocks while selected, over all frames.
    pub bits: u64,
    /// For each row, the WRITE frames that entered it.
    pub row_writes: Vec<u32>,
}

impl BusCounters {
    pub(crate) fn new(rows: usize) -> Self {
        Self {
            frames: 0,
            frames_by_opcode: [0; 256],
            bytes_read: 0,
            bytes_written: 0,
            bits: 0,
            row_writes: vec![0; rows],
        }
    }
}
