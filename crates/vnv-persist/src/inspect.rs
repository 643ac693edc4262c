//! Looking at a heap without knowing its types: for tools.

use crate::heap::Heap;
use core::fmt::Debug;
use vnv_alloc::OffsetAllocator;
use vnv_core::engine::EngineError;
use vnv_core::schema::Schema;
use vnv_core::{ObjectId, Policy, Workspace};
use vnv_storage::Device;

/// A live object as the image describes it.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Seen<'a> {
    /// Its slot and generation.
    pub id: ObjectId,
    /// Byte offset of its block from the start of storage.
    pub offset: u32,
    /// The schema of its type; [`Schema::walk`] visits the fields by name.
    pub schema: Schema<'a>,
    /// Its bytes.
    pub bytes: &'a [u8],
}

impl<D, W, P, R, S> Heap<'_, D, W, P, R, S>
where
    D: Device,
    D::Error: Debug,
    W: Workspace,
    P: Policy,
    R: OffsetAllocator,
    S: OffsetAllocator,
{
    /// Visits the roots that are set. No bus traffic.
    ///
    /// # Errors
    ///
    /// [`Error::Reentered`](crate::Error::Reentered).
    pub fn each_root(&self, visit: &mut dyn FnMut(&str, ObjectId)) -> Result<(), EngineError<D>> {
        self.with_state(|_, state| {
            state.roots.named().for_each(|(name, id)| visit(name, id));
            Ok(())
        })
    }

    /// Visits the live objects in the order of their slots; each is loaded, with the schema of its type. What does not fit its
    /// schema is damaged; the visit goes on behind it, and the first such error is returned.
    ///
    /// # Errors
    ///
    /// As [`get`](Self::get).
    pub fn each_object(&self, visit: &mut dyn FnMut(Seen<'_>)) -> Result<(), EngineError<D>> {
        let (first, used) = self.objects.with(|engine| Ok((u16::from(engine.type_rows()) + 1, engine.used())))?;
        let mut result = Ok(());
        for index in first..used {
            let seen = self.objects.with(|engine| {
                let (Some(id), Some(entry)) = (engine.id(index), engine.entry(index)) else { return Ok(()) };
                if !engine.is_live(index) {
                    return Ok(());
                }
                let offset = engine.offset_of(entry.place());
                let schema = u16::from(entry.type_index());
                engine.view(index, schema, &mut |_, schema, bytes| {
                    schema.walk(bytes, &mut |_| {})?;
                    visit(Seen { id, offset, schema: *schema, bytes });
                    Ok(())
                })
            });
            result = result.and(seen);
        }
        result
    }
}
