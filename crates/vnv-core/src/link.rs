//! Handles that can be stored: links and weak handles.

use crate::durable::{Durable, Named};
use crate::entry::ObjectId;
use crate::schema::{SchemaWriter, kind};
use core::fmt;
use core::hash::{Hash, Hasher};
use core::marker::PhantomData;

macro_rules! handle {
    ($(#[$doc:meta])+ $name:ident, $kind:ident, $links:literal, $schema:ident) => {
        $(#[$doc])+
        #[repr(C)]
        pub struct $name<T: ?Sized> {
            index: u16,
            generation: u16,
            _target: PhantomData<fn() -> *const T>,
        }

        impl<T: ?Sized> $name<T> {
            /// Leads nowhere; all zero in storage.
            pub const NULL: Self = Self::from_raw_parts(0, 0);

            /// From slot and generation.
            #[must_use]
            pub const fn from_raw_parts(index: u16, generation: u16) -> Self {
                Self { index, generation, _target: PhantomData }
            }

            /// From an id.
            #[must_use]
            pub const fn from_id(id: ObjectId) -> Self {
                Self::from_raw_parts(id.index, id.generation)
            }

            /// Whether it leads nowhere.
            #[must_use]
            pub const fn is_null(&self) -> bool {
                self.index == 0
            }

            /// Slot of the target.
            #[must_use]
            pub const fn index(&self) -> u16 {
                self.index
            }

            /// Generation of the target.
            #[must_use]
            pub const fn generation(&self) -> u16 {
                self.generation
            }
        }

        impl<T: ?Sized> Clone for $name<T> {
            fn clone(&self) -> Self {
                *self
            }
        }
        impl<T: ?Sized> Copy for $name<T> {}
        impl<T: ?Sized> Default for $name<T> {
            fn default() -> Self {
                Self::NULL
            }
        }
        impl<T: ?Sized> PartialEq for $name<T> {
            fn eq(&self, other: &Self) -> bool {
                self.index == other.index && self.generation == other.generation
            }
        }
        impl<T: ?Sized> Eq for $name<T> {}
        impl<T: ?Sized> Hash for $name<T> {
            fn hash<H: Hasher>(&self, state: &mut H) {
                (self.index, self.generation).hash(state);
            }
        }
        impl<T: ?Sized> fmt::Debug for $name<T> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({}:{})"), self.index, self.generation)
            }
        }

        /// By the name of the target: links in arrays and slices that links lead to.
        impl<T: ?Sized + Named> Named for $name<T> {
            const NAME: &'static str = T::NAME;
        }

        struct $schema<T: ?Sized>(PhantomData<fn() -> *const T>);
        impl<T: ?Sized + Named> $schema<T> {
            const WRITER: &'static SchemaWriter = &SchemaWriter::new().byte(kind::$kind).name(T::NAME);
        }

        // SAFETY: repr(C), two integers, every bit pattern is a value, no padding.
        unsafe impl<T: ?Sized + Named + 'static> Durable for $name<T> {
            const SCHEMA: &'static [u8] = $schema::<T>::WRITER.as_slice();
            const HAS_LINKS: bool = $links;
            const HAS_PADDING: bool = false;
            fn is_valid(_: &[u8]) -> bool {
                true
            }
            unsafe fn initialise_padding(_: *mut Self) {}
        }
    };
}

handle! {
    /// A field of a durable type that keeps its target alive, or leads nowhere ([`NULL`](Link::NULL)).
    ///
    /// Four bytes. Overwriting the last link to an object makes it garbage for the next collection.
    Link, LINK, true, LinkSchema
}
handle! {
    /// A plain copyable handle that does not keep its target alive. Following a stale one is an error, across reboots too.
    Weak, WEAK, false, WeakSchema
}

impl<T: ?Sized> Link<T> {
    /// A weak handle to the same object.
    #[must_use]
    pub const fn downgrade(&self) -> Weak<T> {
        Weak::from_raw_parts(self.index, self.generation)
    }
}
