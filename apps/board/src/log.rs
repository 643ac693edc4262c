//! Log lines: through defmt on boards, to standard output on the host, or nowhere.

/// Logs a line.
#[cfg(feature = "defmt")]
#[macro_export]
macro_rules! info {
    ($($line:tt)*) => { ::defmt::info!($($line)*) };
}

/// Logs a line that tells of a failure.
#[cfg(feature = "defmt")]
#[macro_export]
macro_rules! error {
    ($($line:tt)*) => { ::defmt::error!($($line)*) };
}

/// Logs a line.
#[cfg(all(feature = "std", not(feature = "defmt")))]
#[macro_export]
macro_rules! info {
    ($($line:tt)*) => { ::std::println!($($line)*) };
}

/// Logs a line that tells of a failure.
#[cfg(all(feature = "std", not(feature = "defmt")))]
#[macro_export]
macro_rules! error {
    ($($line:tt)*) => { ::std::eprintln!($($line)*) };
}

/// Logs a line.
#[cfg(not(any(feature = "std", feature = "defmt")))]
#[macro_export]
macro_rules! info {
    ($line:literal $(, $value:expr)*) => {{ $(let _ = &$value;)* }};
}

/// Logs a line that tells of a failure.
#[cfg(not(any(feature = "std", feature = "defmt")))]
#[macro_export]
macro_rules! error {
    ($line:literal $(, $value:expr)*) => {{ $(let _ = &$value;)* }};
}
