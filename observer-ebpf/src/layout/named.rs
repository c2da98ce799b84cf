//! Enums whose values have names that others gave them: a server's commands, its errors.

/// Makes an enum of names, with the list of all, from 0 on.
macro_rules! named {
    ($(#[$doc:meta])* $visibility:vis $type:ident, $all:ident: $($name:ident $text:literal,)*) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u8)]
        $visibility enum $type {
            $(#[doc = concat!("`", $text, "`")] $name,)*
        }

        #[doc = concat!("How many of [`", stringify!($type), "`] there are.")]
        $visibility const $all: usize = [$($type::$name),*].len();

        #[allow(dead_code, reason = "not every list of names is gone through")]
        impl $type {
            /// All, in the order of the arrays.
            $visibility const ALL: [Self; $all] = [$(Self::$name),*];

            /// Their names, in the same order.
            $visibility const NAMES: [&str; $all] = [$($text),*];

            /// As the server calls it.
            $visibility const fn name(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)*
                }
            }
        }
    };
}
