//! The overall status and progress, in the order of decision of each version (balena 3.2, 3.3).
//!
//! A device that polls or has had a tunnel is judged by that order. Any other (a plain device) by SEMANTICS §5.6.

use super::Version;
use crate::domain::event::{Stage, UpdatePhase};
use crate::domain::facet::{Availability, Connection, Heartbeat, Overall, Push};
use crate::query::cells::Cells;

/// What the decision looks at (balena B01), for a device that polls or has had a tunnel.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Inputs {
    /// `is_active`.
    pub is_active: bool,
    /// `provisioning_state` is "Post-Provisioning".
    pub post_provisioning: bool,
    /// `is_connected_to_vpn`.
    pub vpn: bool,
    /// Whether there is a `last_connectivity_event`.
    pub had_tunnel: bool,
    /// `api_heartbeat_state`.
    pub heartbeat: Heartbeat,
    /// `download_progress` while the status is "Downloading"; else none.
    pub download: Option<u8>,
    /// Whether it is being configured: there, that `provisioning_progress` is not null.
    pub configuring: bool,
    /// `provisioning_progress`; a device may be configured without telling how far it is.
    pub provisioning: Option<u8>,
    /// Whether a tunnel is expected (balena B16).
    pub vpn_wanted: bool,
}

/// Whether a device is judged by SEMANTICS §5.6 alone: it never polled, and never had a tunnel.
pub fn is_plain(cells: &Cells) -> bool {
    let facets = cells.facets();
    facets.vpn == Connection::Unknown && facets.heartbeat == Heartbeat::Unknown
}

/// `is_connected_to_vpn`, and so `is_online` (balena B06): that there is a tunnel. That of a plain device is its push
/// connection or its client session, as SEMANTICS §5.6 has it.
pub fn has_tunnel(cells: &Cells) -> bool {
    let facets = cells.facets();
    if !is_plain(cells) {
        return facets.vpn == Connection::Connected;
    }
    // In maintenance nothing counts as heard: who is online there has a session.
    let in_maintenance = facets.availability == Availability::Maintenance
        && matches!(facets.overall, Overall::Online | Overall::Updating);
    facets.push == Push::Online || facets.connection == Connection::Connected || in_maintenance
}

/// `status`: what the device says that it does.
pub fn status(cells: &Cells) -> &'static str {
    match cells.update_phase() {
        Some(UpdatePhase::Downloading) => "Downloading",
        Some(UpdatePhase::Installing) => "Installing",
        _ => "Idle",
    }
}

/// `download_progress`: of a download that is under way; one that did not tell yet how far it is has just begun.
pub fn download_progress(cells: &Cells) -> Option<u8> {
    let is_downloading = cells.update_phase() == Some(UpdatePhase::Downloading);
    is_downloading.then(|| cells.update_progress().unwrap_or(0))
}

/// `provisioning_state`: "Post-Provisioning", or empty.
pub fn provisioning_state(cells: &Cells) -> &'static str {
    match cells.facets().overall {
        Overall::PostProvisioning => "Post-Provisioning",
        _ => "",
    }
}

/// `provisioning_progress`: percent of the stage of its life, until it is complete.
pub fn provisioning_progress(cells: &Cells) -> Option<u8> {
    cells.stage_progress().filter(|percent| *percent < 100)
}

impl Inputs {
    fn of(cells: &Cells) -> Inputs {
        let facets = cells.facets();
        Inputs {
            is_active: facets.overall != Overall::Inactive,
            post_provisioning: facets.overall == Overall::PostProvisioning,
            vpn: facets.vpn == Connection::Connected,
            had_tunnel: facets.vpn != Connection::Unknown,
            heartbeat: facets.heartbeat,
            download: download_progress(cells),
            configuring: cells.stage() == Some(Stage::Configuring) || provisioning_progress(cells).is_some(),
            provisioning: provisioning_progress(cells),
            vpn_wanted: cells.tunnel_expected(),
        }
    }

    fn is_unheard(&self) -> bool {
        !self.vpn && !self.had_tunnel && self.heartbeat == Heartbeat::Unknown
    }

    fn is_away(&self) -> bool {
        !self.vpn && matches!(self.heartbeat, Heartbeat::Offline | Heartbeat::Unknown)
    }

    /// `overall_status`: the first that holds (balena 3.2).
    pub fn overall_status(&self, version: Version) -> &'static str {
        let is_v7 = version == Version::V7;
        let is_heard = matches!(self.heartbeat, Heartbeat::Online | Heartbeat::Timeout);
        let is_reduced = self.heartbeat == Heartbeat::Timeout
            || self.vpn && self.heartbeat != Heartbeat::Online
            || !self.vpn && self.heartbeat == Heartbeat::Online && self.vpn_wanted;
        match version {
            _ if !self.is_active => "inactive",
            _ if self.post_provisioning => "post-provisioning",
            _ if self.is_unheard() => "configuring",
            Version::V7 if self.is_away() => "disconnected",
            Version::V6 if self.is_away() => "offline",
            _ if self.download.is_some() && (is_heard || !is_v7) => "updating",
            _ if self.configuring => "configuring",
            Version::V7 if is_reduced => "reduced-functionality",
            Version::V7 => "operational",
            Version::V6 => "idle",
        }
    }

    /// `overall_progress`: the first that holds (balena 3.3), the same in both versions.
    pub fn overall_progress(&self) -> Option<u8> {
        if !self.is_active {
            return None;
        }
        if self.post_provisioning || self.is_unheard() {
            return self.provisioning;
        }
        if self.is_away() {
            return None;
        }
        self.download.or(self.provisioning)
    }
}

/// `overall_status` of a device.
pub fn overall_status(version: Version, cells: &Cells) -> &'static str {
    if !is_plain(cells) {
        return Inputs::of(cells).overall_status(version);
    }
    match (cells.facets().overall, version) {
        (Overall::Inactive, _) => "inactive",
        (Overall::PostProvisioning, _) => "post-provisioning",
        (Overall::Configuring, _) => "configuring",
        (Overall::Updating, _) => "updating",
        // Nobody is called offline for want of news.
        (Overall::Unknown, _) => "unknown",
        (Overall::Offline, Version::V6) => "offline",
        (Overall::Offline, Version::V7) => "disconnected",
        (Overall::Online, Version::V6) => "idle",
        (Overall::Online, Version::V7) => "operational",
    }
}

/// `overall_progress` of a device.
pub fn overall_progress(cells: &Cells) -> Option<u8> {
    if is_plain(cells) { cells.progress() } else { Inputs::of(cells).overall_progress() }
}

#[cfg(test)]
#[path = "status_tests.rs"]
mod tests;
