//! What operations need of a heap or of a running transaction.

use crate::types::{LabHeap, Ram};
use core::fmt::Debug;
use core::ops::Range;
use vnv_persist::{Durable, DurableObject, Error, Link, Transaction};
use vnv_storage::Device;

/// A heap or a transaction, by whole values.
pub trait Access {
    /// Error of the device.
    type Fault: Debug;
    /// Copies a value out.
    fn read<T: Durable + Copy>(&self, link: Link<T>) -> Result<T, Error<Self::Fault>>;
    /// Copies a slice out.
    fn read_all<T: Durable + Copy>(&self, link: Link<[T]>) -> Result<Vec<T>, Error<Self::Fault>>;
    /// Changes a value; `change` must not call the heap.
    fn change<T: Durable>(&self, link: Link<T>, change: impl FnOnce(&mut T)) -> Result<(), Error<Self::Fault>>;
    /// Fills elements of a slice.
    fn fill<T: Durable + Copy>(&self, link: Link<[T]>, range: Range<usize>, value: T)
    -> Result<(), Error<Self::Fault>>;
    /// Sets one element of a slice.
    fn element<T: Durable + Copy>(&self, link: Link<[T]>, at: usize, value: T) -> Result<(), Error<Self::Fault>>;
    /// Allocates a value.
    fn allocate<T: Durable>(&self, value: T) -> Result<Link<T>, Error<Self::Fault>>;
    /// Allocates a slice.
    fn allocate_slice<T: Durable>(
        &self,
        len: usize,
        element: impl FnMut(usize) -> T,
    ) -> Result<Link<[T]>, Error<Self::Fault>>;
    /// Frees an object.
    fn free<T: ?Sized + DurableObject>(&self, link: Link<T>) -> Result<(), Error<Self::Fault>>;
    /// What a root leads to.
    fn root<T: ?Sized + DurableObject>(&self, name: &str) -> Result<Option<Link<T>>, Error<Self::Fault>>;
    /// Sets a root.
    fn set_root<T: ?Sized + DurableObject>(&self, name: &str, link: Option<Link<T>>) -> Result<(), Error<Self::Fault>>;
}

macro_rules! access {
    () => {
        type Fault = D::Error;
        fn read<T: Durable + Copy>(&self, link: Link<T>) -> Result<T, Error<D::Error>> {
            Ok(*self.get(link)?)
        }
        fn read_all<T: Durable + Copy>(&self, link: Link<[T]>) -> Result<Vec<T>, Error<D::Error>> {
            Ok(self.get(link)?.to_vec())
        }
        fn change<T: Durable>(&self, link: Link<T>, change: impl FnOnce(&mut T)) -> Result<(), Error<D::Error>> {
            change(&mut *self.get_mut(link)?);
            Ok(())
        }
        fn fill<T: Durable + Copy>(
            &self,
            link: Link<[T]>,
            range: Range<usize>,
            value: T,
        ) -> Result<(), Error<D::Error>> {
            self.get_range_mut(link, range)?.fill(value);
            Ok(())
        }
        fn element<T: Durable + Copy>(&self, link: Link<[T]>, at: usize, value: T) -> Result<(), Error<D::Error>> {
            *self.get_element_mut(link, at)? = value;
            Ok(())
        }
        fn allocate<T: Durable>(&self, value: T) -> Result<Link<T>, Error<D::Error>> {
            Ok(self.allocate(value)?.into_link())
        }
        fn allocate_slice<T: Durable>(
            &self,
            len: usize,
            element: impl FnMut(usize) -> T,
        ) -> Result<Link<[T]>, Error<D::Error>> {
            Ok(self.allocate_slice_with(len, element)?.into_link())
        }
        fn free<T: ?Sized + DurableObject>(&self, link: Link<T>) -> Result<(), Error<D::Error>> {
            self.free(link)
        }
        fn root<T: ?Sized + DurableObject>(&self, name: &str) -> Result<Option<Link<T>>, Error<D::Error>> {
            self.root(name)
        }
        fn set_root<T: ?Sized + DurableObject>(
            &self,
            name: &str,
            link: Option<Link<T>>,
        ) -> Result<(), Error<D::Error>> {
            self.set_root(name, link)
        }
    };
}

impl<D: Device> Access for LabHeap<'_, D>
where
    D::Error: Debug,
{
    access!();
}

/// A transaction of a laboratory heap.
pub type LabTransaction<'h, 'm, D> =
    Transaction<'h, 'm, D, Ram, vnv_persist::Adaptive, vnv_alloc::SortedArray<24>, vnv_alloc::SortedArray<32>>;

impl<D: Device> Access for LabTransaction<'_, '_, D>
where
    D::Error: Debug,
{
    access!();
}
