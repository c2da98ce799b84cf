//! Types of the program's maps, as the maps of this process's library take them.

/// Makes types that wrap others, which must be of integers only, without padding: keys and values of maps.
macro_rules! pod {
    ($($(#[$doc:meta])* $visibility:vis $name:ident($inner:vis $type:ty);)*) => {
        $(
            $(#[$doc])*
            #[derive(Clone, Copy)]
            #[repr(transparent)]
            $visibility struct $name($inner $type);

            // SAFETY: integers only, without padding.
            unsafe impl aya::Pod for $name {}
        )*
    };
}
pub(crate) use pod;
