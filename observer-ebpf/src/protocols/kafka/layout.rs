//! Counters of a Kafka connection ("Kafka protocol guide", kafka.apache.org/protocol).
//!
//! As for Redis, counts are 32 bits wide, and before one can overflow the connection goes on in a fresh slot
//! ([`Counters::is_full`]).

/// Upper bounds, inclusive, in nanoseconds, of the buckets of latencies; the last bucket is what lies above.
pub static LATENCY_BOUNDS: [u64; 8] =
    [1_000_000, 5_000_000, 10_000_000, 50_000_000, 100_000_000, 500_000_000, 1_000_000_000, 5_000_000_000];
/// Buckets of latencies.
pub const LATENCY_BUCKETS: usize = 9;

named! {
    /// The requests that are told apart, in the order of their API keys, the last one apart.
    pub Api, APIS:
    Other "other",
    Produce "produce",
    Fetch "fetch",
    ListOffsets "list_offsets",
    Metadata "metadata",
    LeaderAndIsr "leader_and_isr",
    StopReplica "stop_replica",
    UpdateMetadata "update_metadata",
    ControlledShutdown "controlled_shutdown",
    OffsetCommit "offset_commit",
    OffsetFetch "offset_fetch",
    FindCoordinator "find_coordinator",
    JoinGroup "join_group",
    Heartbeat "heartbeat",
    LeaveGroup "leave_group",
    SyncGroup "sync_group",
    DescribeGroups "describe_groups",
    ListGroups "list_groups",
    SaslHandshake "sasl_handshake",
    ApiVersions "api_versions",
    CreateTopics "create_topics",
    DeleteTopics "delete_topics",
    DeleteRecords "delete_records",
    InitProducerId "init_producer_id",
    OffsetForLeaderEpoch "offset_for_leader_epoch",
    AddPartitionsToTxn "add_partitions_to_txn",
    AddOffsetsToTxn "add_offsets_to_txn",
    EndTxn "end_txn",
    WriteTxnMarkers "write_txn_markers",
    TxnOffsetCommit "txn_offset_commit",
    DescribeAcls "describe_acls",
    CreateAcls "create_acls",
    DeleteAcls "delete_acls",
    DescribeConfigs "describe_configs",
    AlterConfigs "alter_configs",
    AlterReplicaLogDirs "alter_replica_log_dirs",
    DescribeLogDirs "describe_log_dirs",
    SaslAuthenticate "sasl_authenticate",
    CreatePartitions "create_partitions",
    ConsumerGroupHeartbeat "consumer_group_heartbeat",
}

impl Api {
    /// Of an API key.
    #[inline(always)]
    pub const fn index(key: u8) -> u8 {
        match key {
            0..=37 => key + 1,
            68 => Self::ConsumerGroupHeartbeat as u8,
            _ => Self::Other as u8,
        }
    }
}

named! {
    /// The errors that are told apart, in the order of their codes; the last one has -1.
    pub ErrorCode, ERROR_CODES:
    Other "other",
    OffsetOutOfRange "offset_out_of_range",
    CorruptMessage "corrupt_message",
    UnknownTopicOrPartition "unknown_topic_or_partition",
    InvalidFetchSize "invalid_fetch_size",
    LeaderNotAvailable "leader_not_available",
    NotLeaderOrFollower "not_leader_or_follower",
    RequestTimedOut "request_timed_out",
    BrokerNotAvailable "broker_not_available",
    ReplicaNotAvailable "replica_not_available",
    MessageTooLarge "message_too_large",
    StaleControllerEpoch "stale_controller_epoch",
    OffsetMetadataTooLarge "offset_metadata_too_large",
    NetworkException "network_exception",
    CoordinatorLoadInProgress "coordinator_load_in_progress",
    CoordinatorNotAvailable "coordinator_not_available",
    NotCoordinator "not_coordinator",
    InvalidTopicException "invalid_topic_exception",
    RecordListTooLarge "record_list_too_large",
    NotEnoughReplicas "not_enough_replicas",
    NotEnoughReplicasAfterAppend "not_enough_replicas_after_append",
    InvalidRequiredAcks "invalid_required_acks",
    IllegalGeneration "illegal_generation",
    InconsistentGroupProtocol "inconsistent_group_protocol",
    InvalidGroupId "invalid_group_id",
    UnknownMemberId "unknown_member_id",
    InvalidSessionTimeout "invalid_session_timeout",
    RebalanceInProgress "rebalance_in_progress",
    InvalidCommitOffsetSize "invalid_commit_offset_size",
    TopicAuthorizationFailed "topic_authorization_failed",
    GroupAuthorizationFailed "group_authorization_failed",
    ClusterAuthorizationFailed "cluster_authorization_failed",
    InvalidTimestamp "invalid_timestamp",
    UnsupportedSaslMechanism "unsupported_sasl_mechanism",
    IllegalSaslState "illegal_sasl_state",
    UnsupportedVersion "unsupported_version",
    TopicAlreadyExists "topic_already_exists",
    InvalidPartitions "invalid_partitions",
    InvalidReplicationFactor "invalid_replication_factor",
    InvalidReplicaAssignment "invalid_replica_assignment",
    InvalidConfig "invalid_config",
    NotController "not_controller",
    InvalidRequest "invalid_request",
    UnsupportedForMessageFormat "unsupported_for_message_format",
    PolicyViolation "policy_violation",
    OutOfOrderSequenceNumber "out_of_order_sequence_number",
    DuplicateSequenceNumber "duplicate_sequence_number",
    InvalidProducerEpoch "invalid_producer_epoch",
    InvalidTxnState "invalid_txn_state",
    InvalidProducerIdMapping "invalid_producer_id_mapping",
    InvalidTransactionTimeout "invalid_transaction_timeout",
    ConcurrentTransactions "concurrent_transactions",
    TransactionCoordinatorFenced "transaction_coordinator_fenced",
    TransactionalIdAuthorizationFailed "transactional_id_authorization_failed",
    SecurityDisabled "security_disabled",
    OperationNotAttempted "operation_not_attempted",
    KafkaStorageError "kafka_storage_error",
    LogDirNotFound "log_dir_not_found",
    SaslAuthenticationFailed "sasl_authentication_failed",
    UnknownProducerId "unknown_producer_id",
    ReassignmentInProgress "reassignment_in_progress",
    DelegationTokenAuthDisabled "delegation_token_auth_disabled",
    DelegationTokenNotFound "delegation_token_not_found",
    DelegationTokenOwnerMismatch "delegation_token_owner_mismatch",
    DelegationTokenRequestNotAllowed "delegation_token_request_not_allowed",
    DelegationTokenAuthorizationFailed "delegation_token_authorization_failed",
    DelegationTokenExpired "delegation_token_expired",
    InvalidPrincipalType "invalid_principal_type",
    NonEmptyGroup "non_empty_group",
    GroupIdNotFound "group_id_not_found",
    FetchSessionIdNotFound "fetch_session_id_not_found",
    InvalidFetchSessionEpoch "invalid_fetch_session_epoch",
    ListenerNotFound "listener_not_found",
    TopicDeletionDisabled "topic_deletion_disabled",
    FencedLeaderEpoch "fenced_leader_epoch",
    UnknownLeaderEpoch "unknown_leader_epoch",
    UnsupportedCompressionType "unsupported_compression_type",
    StaleBrokerEpoch "stale_broker_epoch",
    OffsetNotAvailable "offset_not_available",
    MemberIdRequired "member_id_required",
    PreferredLeaderNotAvailable "preferred_leader_not_available",
    GroupMaxSizeReached "group_max_size_reached",
    FencedInstanceId "fenced_instance_id",
    EligibleLeadersNotAvailable "eligible_leaders_not_available",
    ElectionNotNeeded "election_not_needed",
    NoReassignmentInProgress "no_reassignment_in_progress",
    GroupSubscribedToTopic "group_subscribed_to_topic",
    InvalidRecord "invalid_record",
    UnstableOffsetCommit "unstable_offset_commit",
    ThrottlingQuotaExceeded "throttling_quota_exceeded",
    ProducerFenced "producer_fenced",
    ResourceNotFound "resource_not_found",
    DuplicateResource "duplicate_resource",
    UnacceptableCredential "unacceptable_credential",
    InconsistentVoterSet "inconsistent_voter_set",
    InvalidUpdateVersion "invalid_update_version",
    FeatureUpdateFailed "feature_update_failed",
    PrincipalDeserializationFailure "principal_deserialization_failure",
    SnapshotNotFound "snapshot_not_found",
    PositionOutOfRange "position_out_of_range",
    UnknownTopicId "unknown_topic_id",
    DuplicateBrokerRegistration "duplicate_broker_registration",
    BrokerIdNotRegistered "broker_id_not_registered",
    InconsistentTopicId "inconsistent_topic_id",
    InconsistentClusterId "inconsistent_cluster_id",
    TransactionalIdNotFound "transactional_id_not_found",
    FetchSessionTopicIdError "fetch_session_topic_id_error",
    UnknownServerError "unknown_server_error",
}

impl ErrorCode {
    /// The greatest code that is told apart.
    const LAST: u16 = ERROR_CODES as u16 - 2;

    /// Of a code other than 0.
    #[inline(always)]
    pub const fn index(code: i16) -> u8 {
        match code.cast_unsigned() {
            code @ 1..=Self::LAST => code as u8,
            u16::MAX => Self::UnknownServerError as u8,
            _ => Self::Other as u8,
        }
    }
}

/// What is known of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Counters {
    /// Nanoseconds of all in [`Counters::produces`].
    pub produce_ns: u64,
    /// Nanoseconds of all in [`Counters::fetches`].
    pub fetch_ns: u64,
    /// Produce requests, from the request to the end of its response, by bucket of [`LATENCY_BOUNDS`].
    pub produces: [u32; LATENCY_BUCKETS],
    /// Fetch requests for messages that were known to be there, likewise.
    pub fetches: [u32; LATENCY_BUCKETS],
    /// Requests sent, by [`Api`].
    pub requests: [u32; APIS],
    /// Errors in responses to Produce, Fetch, and other requests that are looked into, by [`ErrorCode`].
    pub errors: [u32; ERROR_CODES],
    /// Fetch requests that waited for messages, or found none: they are in no bucket.
    pub waits: u32,
    /// Responses whose request is not known: more were in flight than are kept, or it was sent before the connection was
    /// seen.
    pub unmatched: u32,
    /// Requests, responses and record batches that were not looked into, as their version is not known.
    pub unparsed: u32,
    /// What [`Counters::is_full`] looks at: requests and errors counted, at least.
    pub counted: u32,
}

const _: () = assert!(size_of::<Counters>() == 16 + 4 * (2 * LATENCY_BUCKETS + APIS + ERROR_CODES + 4));
const _: () = assert!((APIS + ERROR_CODES).is_multiple_of(2), "of whole words, without padding");

impl Counters {
    /// Nothing counted.
    pub const ZERO: Self = Self {
        produce_ns: 0,
        fetch_ns: 0,
        produces: [0; LATENCY_BUCKETS],
        fetches: [0; LATENCY_BUCKETS],
        requests: [0; APIS],
        errors: [0; ERROR_CODES],
        waits: 0,
        unmatched: 0,
        unparsed: 0,
        counted: 0,
    };

    /// Whether a count may overflow soon.
    #[inline(always)]
    pub const fn is_full(&self) -> bool {
        self.counted > u32::MAX / 2
    }
}

views!(kafka, kafka_mut, Kafka);
