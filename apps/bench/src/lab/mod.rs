//! The laboratory: workloads on a counting storage and on a simulated chip, beside the figures of earlier systems.

pub mod clairvoyant;
pub mod cost;
pub mod counting;
pub mod jobs;
pub mod kvs;
pub mod medium;
pub mod order;
pub mod paged;
pub mod prior;
pub mod queue;
pub mod row;
pub mod simulated;
pub mod table;

/// Calls `$function::<Policy>($name, ..)` for each eviction policy.
#[macro_export]
macro_rules! for_each_policy {
    ($function:ident($($argument:expr),*)) => {
        $function::<vnv_persist::FirstFound>("vnv/first-found" $(, $argument)*);
        $function::<vnv_persist::Clock>("vnv/clock" $(, $argument)*);
    };
}
