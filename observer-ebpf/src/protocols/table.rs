//! What the table of protocols becomes.

/// Makes of the table:
///
/// - `Protocol`, with its labels and default ports;
/// - [`Details`](crate::layout::connection::Details), the union of what protocols count;
/// - `Parsers`, the union of their parsers' states, of which a session has one at a time;
/// - `dispatch!`, a match over the protocols that are parsed;
/// - `recognise` and `adopts`, which ask each protocol in turn whether bytes are its own;
/// - `Call`, which is what the bytes of a call must offer to all parsers.
macro_rules! protocols {
    (($d:tt)
        parsed {
            $(
                $(#[$doc:meta])*
                $name:ident = $number:literal, $label:literal, $module:ident::$parser:ident $(, port $port:literal)?;
            )*
        }
        recognised {
            $(
                $(#[$more_doc:meta])*
                $more:ident = $more_number:literal, $more_label:literal, $more_module:ident::$recognised:ident;
            )*
        }
        none $none:ident = $none_number:literal, $none_label:literal;
    ) => {
        /// What a connection speaks.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u8)]
        pub enum Protocol {
            /// Not told yet, or not one of the others.
            #[default]
            $none = $none_number,
            $($(#[$doc])* $name = $number,)*
            $($(#[$more_doc])* $more = $more_number,)*
        }

        impl Protocol {
            /// How many there are.
            pub const COUNT: usize = Self::ALL.len();

            /// Every protocol, by its number.
            pub const ALL: [Self; [$none_number, $($number,)* $($more_number),*].len()] = {
                let mut all = [Self::$none; [$none_number, $($number,)* $($more_number),*].len()];
                $(all[$number] = Self::$name;)*
                $(all[$more_number] = Self::$more;)*
                all
            };

            /// The protocol stored as `value`; anything else is [`Protocol::Unknown`].
            #[inline(always)]
            pub const fn from_u8(value: u8) -> Self {
                match value {
                    $($number => Self::$name,)*
                    $($more_number => Self::$more,)*
                    _ => Self::$none,
                }
            }

            /// A label's value for it.
            pub const fn label(self) -> &'static str {
                match self {
                    Self::$none => $none_label,
                    $(Self::$name => $label,)*
                    $(Self::$more => $more_label,)*
                }
            }

            /// The port at which its servers listen unless they are told otherwise, if ports are a hint at it.
            pub const fn default_port(self) -> Option<u16> {
                match self {
                    $(Self::$name => port!($($port)?),)*
                    $(Self::$more => None,)*
                    Self::$none => None,
                }
            }
        }

        const _: () = {
            // As every number is given once, they are those from 0 on.
            let mut at = 0;
            while at < Protocol::COUNT {
                assert!(Protocol::ALL[at] as usize == at, "numbers of protocols are given twice, or left out");
                at += 1;
            }
        };

        /// The greatest of some sizes, in words.
        const fn words(sizes: &[usize]) -> usize {
            let mut most = 0;
            let mut at = 0;
            while at < sizes.len() {
                assert!(sizes[at].is_multiple_of(8), "states and counters are of whole words");
                if sizes[at] > most {
                    most = sizes[at];
                }
                at += 1;
            }
            most / 8
        }

        /// The size of [`Details`] in words.
        const DETAILS: usize = words(&[$(size_of::<$module::layout::Counters>()),*]);

        /// What protocols count, in one place: a connection speaks one of them. It is all zeroes whenever another one
        /// begins to, but for a WebSocket, which goes on with what it counted as HTTP.
        #[derive(Clone, Copy)]
        #[repr(C)]
        pub union Details {
            $(pub(in crate::protocols) $module: $module::layout::Counters,)*
            all: [u64; DETAILS],
        }

        // SAFETY: of integers only, without padding, as all views are.
        unsafe impl $crate::layout::Zeroes for Details {}

        impl Details {
            /// Nothing counted.
            pub const ZERO: Self = Self { all: [0; DETAILS] };

            /// How many words of it a protocol uses.
            pub const fn words_of(protocol: Protocol) -> usize {
                match protocol {
                    $(Protocol::$name => size_of::<$module::layout::Counters>() / 8,)*
                    $(Protocol::$more => 0,)*
                    Protocol::$none => 0,
                }
            }
        }

        impl core::fmt::Debug for Details {
            fn fmt(&self, formatter: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                formatter.debug_struct("Details").finish_non_exhaustive()
            }
        }

        /// The state of the one parser that a session has. It may hold what another protocol's left: whoever takes it
        /// over sets it first.
        #[derive(Clone, Copy)]
        #[repr(C)]
        pub(crate) union Parsers {
            $(pub(crate) $module: $module::$parser,)*
            /// What comes before any protocol.
            pub(crate) proxy: $crate::stream::proxy::Header,
            all: [u64; PARSERS],
        }

        /// The size of [`Parsers`] in words.
        const PARSERS: usize = words(&[$(size_of::<$module::$parser>()),*]);

        impl Parsers {
            /// In none of them, all of whose states are of integers only.
            pub(crate) const START: Self = Self { all: [0; PARSERS] };
        }

        impl core::fmt::Debug for Parsers {
            fn fmt(&self, formatter: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                formatter.debug_struct("Parsers").finish_non_exhaustive()
            }
        }

        /// Evaluates an expression with the state of a protocol's parser; another one for a protocol that has none.
        macro_rules! dispatch {
            ($d protocol:expr, $d parsers:expr, |$d parser:ident| $d with:expr, none => $d without:expr) => {
                match $d protocol {
                    $(
                        $crate::protocols::Protocol::$name => {
                            // SAFETY: of integers only, without padding: whatever is there is a state.
                            let $d parser = unsafe { &mut $d parsers.$module };
                            $d with
                        }
                    )*
                    $($crate::protocols::Protocol::$more)|* | $crate::protocols::Protocol::$none => $d without,
                }
            };
        }
        pub(crate) use dispatch;

        /// Tells the protocol from the client's first bytes, or from the server's where that speaks first.
        #[inline(always)]
        pub fn recognise(start: Start, side: Side) -> (Match, Protocol) {
            $(
                match <$module::$parser as Recognise>::recognise(start, side) {
                    Match::No => {}
                    found => return (found, Protocol::$name),
                }
            )*
            $(
                match <$more_module::$recognised as Recognise>::recognise(start, side) {
                    Match::No => {}
                    found => return (found, Protocol::$more),
                }
            )*
            (Match::No, Protocol::$none)
        }

        /// Tells the protocol from a call in the middle of a connection, by the call's first bytes and, where a protocol
        /// asks for that, by a look at all of them.
        #[inline(always)]
        pub(crate) fn adopt<S: Call>(start: Start, side: Side, source: &mut S) -> Option<Protocol> {
            $(
                let found = match <$module::$parser as Recognise>::adopts(start, side) {
                    Adopts::No => false,
                    Adopts::Yes => true,
                    Adopts::IfWhole => Looks::<$module::$parser>::is_whole(source, side),
                };
                if found {
                    return Some(Protocol::$name);
                }
            )*
            $(
                if matches!(<$more_module::$recognised as Recognise>::adopts(start, side), Adopts::Yes) {
                    return Some(Protocol::$more);
                }
            )*
            None
        }

        /// [`Parser::is_full`] of a protocol's parser.
        #[inline(always)]
        pub(crate) fn is_full(protocol: Protocol, connection: &Connection, direction: Direction) -> bool {
            match protocol {
                $(Protocol::$name => $module::$parser::is_full(connection, direction),)*
                $(Protocol::$more)|* | Protocol::$none => false,
            }
        }

        /// Whether a protocol's parser leaves nothing of what the connection was taken for before: [`Parser::GOES_ON_FROM`].
        #[inline(always)]
        pub(crate) const fn begins_anew(protocol: Protocol, before: Protocol) -> bool {
            let goes_on_from = match protocol {
                $(Protocol::$name => <$module::$parser as Parser>::GOES_ON_FROM,)*
                // Nothing is counted that would be in the way.
                $(Protocol::$more)|* | Protocol::$none => return false,
            };
            let goes_on = match goes_on_from {
                Some(other) => before as u8 == other as u8,
                None => false,
            };
            before as u8 != Protocol::$none as u8 && before as u8 != protocol as u8 && !goes_on
        }

        /// [`Parser::carry_over`] of a protocol's parser.
        #[inline(always)]
        pub(crate) fn carry_over(protocol: Protocol, before: &Connection, next: &mut Connection) {
            match protocol {
                $(Protocol::$name => $module::$parser::carry_over(before, next),)*
                $(Protocol::$more)|* | Protocol::$none => {}
            }
        }

        /// What the bytes of a call offer to all parsers.
        pub trait Call:
            Keys + Topics + Labels + Runs<Session> + Runs<Frames> $(+ Runs<$module::$parser> + Looks<$module::$parser>)*
        {
        }

        impl<S> Call for S where
            S: Keys + Topics + Labels + Runs<Session> + Runs<Frames> $(+ Runs<$module::$parser> + Looks<$module::$parser>)*
        {
        }
    };
}

/// The port in a line of the table, if there is one.
macro_rules! port {
    () => {
        None
    };
    ($port:literal) => {
        Some($port)
    };
}

/// Gives the counters of a protocol their views: of [`Details`](crate::layout::connection::Details), whatever is in
/// there, and of a connection, if it speaks that protocol.
macro_rules! views {
    ($view:ident, $view_mut:ident, $protocol:ident) => {
        impl $crate::layout::connection::Details {
            #[doc = concat!("As what `", stringify!($view), "` counts, whether or not that is what is in there.")]
            #[inline(always)]
            pub const fn $view(&self) -> &Counters {
                // SAFETY: of integers only, without padding, as all views are.
                unsafe { &self.$view }
            }

            #[doc = concat!("As [`Details::", stringify!($view), "`](Self::", stringify!($view), ").")]
            #[inline(always)]
            pub const fn $view_mut(&mut self) -> &mut Counters {
                // SAFETY: of integers only, without padding, as all views are.
                unsafe { &mut self.$view }
            }
        }

        impl $crate::layout::connection::Connection {
            #[doc = concat!("Its counters, if the connection speaks `", stringify!($view), "`; else zeroes.")]
            pub fn $view(&self) -> &Counters {
                if self.protocol == $crate::protocols::Protocol::$protocol as u8 {
                    self.details.$view()
                } else {
                    &Counters::ZERO
                }
            }
        }
    };
}
