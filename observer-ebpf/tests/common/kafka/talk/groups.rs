//! Members of groups that come, stay and leave.

use kafka_protocol::messages::join_group_request::JoinGroupRequestProtocol;
use kafka_protocol::messages::leave_group_request::MemberIdentity;
use kafka_protocol::messages::sync_group_request::SyncGroupRequestAssignment;
use kafka_protocol::messages::{
    HeartbeatRequest, HeartbeatResponse, JoinGroupRequest, JoinGroupResponse, LeaveGroupRequest,
    LeaveGroupResponse, SyncGroupRequest, SyncGroupResponse,
};

use super::super::response;
use super::{Exchange, Talk};

impl Talk {
    pub(super) fn join(&mut self, version: i16) -> Exchange {
        let is_flexible = version >= 6;
        let mut body = JoinGroupRequest::default()
            .with_group_id(self.group())
            .with_member_id(self.noise.text())
            .with_unknown_tagged_fields(self.tags(is_flexible));
        if version >= 5 {
            body.group_instance_id = self.noise.text_or_none();
        }
        let protocol = JoinGroupRequestProtocol::default().with_metadata(self.noise.bytes(50));
        body.protocols = vec![protocol];
        (self.ask(version, &body), response(version, self.correlation, &JoinGroupResponse::default()))
    }

    pub(super) fn heartbeat(&mut self, version: i16) -> Exchange {
        let is_flexible = version >= 4;
        let mut body = HeartbeatRequest::default()
            .with_group_id(self.group())
            .with_member_id(self.noise.text())
            .with_unknown_tagged_fields(self.tags(is_flexible));
        if version >= 3 {
            body.group_instance_id = self.noise.text_or_none();
        }
        let code = self.noise.code();
        self.model.error(code);
        let mut answer = HeartbeatResponse::default().with_error_code(code);
        if version >= 1 {
            answer.throttle_time_ms = self.noise.number();
        }
        (self.ask(version, &body), response(version, self.correlation, &answer))
    }

    pub(super) fn leave(&mut self, version: i16) -> Exchange {
        let mut body = LeaveGroupRequest::default().with_group_id(self.group());
        if version >= 3 {
            body.members = vec![MemberIdentity::default().with_member_id(self.noise.text())];
        } else {
            body.member_id = self.noise.text();
        }
        let code = self.noise.code();
        self.model.error(code);
        let mut answer = LeaveGroupResponse::default().with_error_code(code);
        if version >= 1 {
            answer.throttle_time_ms = self.noise.number();
        }
        (self.ask(version, &body), response(version, self.correlation, &answer))
    }

    pub(super) fn sync(&mut self, version: i16) -> Exchange {
        let is_flexible = version >= 4;
        let mut body = SyncGroupRequest::default()
            .with_group_id(self.group())
            .with_member_id(self.noise.text())
            .with_unknown_tagged_fields(self.tags(is_flexible));
        let assignment = SyncGroupRequestAssignment::default().with_assignment(self.noise.bytes(50));
        body.assignments = vec![assignment];
        let code = self.noise.code();
        self.model.error(code);
        let mut answer =
            SyncGroupResponse::default().with_error_code(code).with_assignment(self.noise.bytes(50));
        if version >= 1 {
            answer.throttle_time_ms = self.noise.number();
        }
        (self.ask(version, &body), response(version, self.correlation, &answer))
    }
}
