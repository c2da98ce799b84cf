//! Handles to the maps that the programs share with the agent.

use std::os::fd::AsFd as _;

use aya::Ebpf;
use aya::maps::MapData;
use observer_ebpf::layout::connection::UnixPath;
use observer_ebpf::layout::losses::Losses;

use super::{Error, chain};
use crate::kernel::pod::pod;

pod! {
    /// [`UnixPath`] as a map's value.
    pub PathValue(pub UnixPath);
    /// [`Losses`] as a map's value.
    pub LossesValue(pub Losses);
}

/// Takes a map out of the object, as a map of its type.
pub(super) fn typed<M: TryFrom<aya::maps::Map, Error = aya::maps::MapError>>(
    ebpf: &mut Ebpf,
    name: &'static str,
) -> Result<M, Error> {
    let map = ebpf.take_map(name).ok_or_else(|| Error::Maps(format!("{name} is not in the object")))?;
    M::try_from(map).map_err(|error| Error::Maps(format!("{name}: {}", chain(&error))))
}

/// Another handle to a map.
pub(super) fn clone_of(ebpf: &Ebpf, name: &'static str) -> Result<MapData, Error> {
    use aya::maps::Map;
    let Some(Map::Array(data) | Map::HashMap(data) | Map::PerCpuHashMap(data) | Map::SkStorage(data)) =
        ebpf.map(name)
    else {
        return Err(Error::Maps(format!("{name} is not in the object")));
    };
    let descriptor =
        data.fd().as_fd().try_clone_to_owned().map_err(|error| Error::Maps(error.to_string()))?;
    MapData::from_fd(descriptor).map_err(|error| Error::Maps(chain(&error)))
}
