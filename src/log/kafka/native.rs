//! librdkafka where rdkafka has no safe call, or a slow one: batch consuming, ListOffsets for many partitions at once,
//! transactions without the 100 ms that rdkafka 0.39 adds to a commit. All `unsafe` code of the log is here.

use std::collections::VecDeque;
use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::marker::PhantomData;
use std::mem::ManuallyDrop;
use std::ptr::{self, NonNull};
use std::sync::Arc;
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::bindings as rd;
use rdkafka::error::RDKafkaErrorCode as Code;

use super::errors::{self, Watch};
use crate::domain::time::Timestamp;
use crate::log::{Header, Scanned};

/// A client of librdkafka that whoever asks by it keeps alive.
pub type Client = *mut rd::rd_kafka_t;

/// A partition of a topic by name, and an offset or a request for one.
#[derive(Clone, Debug)]
pub struct At {
    /// The topic's name.
    pub topic: String,
    /// The partition.
    pub partition: u32,
    /// An offset; [`EARLIEST`] or [`LATEST`] in a question to [`list_offsets`], [`EARLIEST`] in an assignment.
    pub offset: i64,
}

/// The first offset that is there.
pub const EARLIEST: i64 = -2;
/// The next offset to be written.
pub const LATEST: i64 = -1;
/// The record with the latest timestamp (KIP-734); a question only.
pub const NEWEST: i64 = -3;

fn millis(time: Duration) -> c_int {
    c_int::try_from(time.as_millis()).unwrap_or(c_int::MAX)
}

unsafe fn text(pointer: *const c_char) -> String {
    if pointer.is_null() {
        return String::new();
    }
    // SAFETY: librdkafka's strings end with NUL; the caller says that this one is alive.
    unsafe { CStr::from_ptr(pointer) }.to_string_lossy().into_owned()
}

unsafe fn bytes<'a>(pointer: *const c_void, length: usize) -> Option<&'a [u8]> {
    // SAFETY: the caller says that so many bytes are there for that long.
    (!pointer.is_null()).then(|| unsafe { std::slice::from_raw_parts(pointer.cast(), length) })
}

/// A list of partitions as librdkafka wants it.
pub struct PartitionList(NonNull<rd::rd_kafka_topic_partition_list_t>);

impl PartitionList {
    /// With these partitions, offsets, and one metadata string each if `metadata` gives one.
    pub fn new<'a>(
        partitions: impl IntoIterator<Item = (&'a str, u32, i64, Option<&'a str>)>,
    ) -> PartitionList {
        // SAFETY: list_new never returns null (it aborts without memory); add returns a new element of the list, which
        // owns the metadata and frees it with free(), therefore malloc.
        unsafe {
            let list = rd::rd_kafka_topic_partition_list_new(8);
            for (topic, partition, offset, metadata) in partitions {
                let topic = CString::new(topic).unwrap_or_default();
                let element = rd::rd_kafka_topic_partition_list_add(list, topic.as_ptr(), partition as i32);
                (*element).offset = offset;
                if let Some(metadata) = metadata {
                    let buffer = rd::rd_kafka_mem_malloc(ptr::null_mut(), metadata.len().max(1));
                    ptr::copy_nonoverlapping(metadata.as_ptr(), buffer.cast::<u8>(), metadata.len());
                    (*element).metadata = buffer;
                    (*element).metadata_size = metadata.len();
                }
            }
            PartitionList(NonNull::new_unchecked(list))
        }
    }

    /// Topic, partition, offset, metadata and error of each.
    pub fn read(&self) -> Vec<(String, u32, i64, Vec<u8>, Code)> {
        // SAFETY: the list is ours and has `cnt` elements.
        unsafe {
            let list = self.0.as_ref();
            (0..list.cnt as usize)
                .map(|index| {
                    let element = &*list.elems.add(index);
                    let metadata = bytes(element.metadata, element.metadata_size).unwrap_or_default();
                    let partition = element.partition as u32;
                    (text(element.topic), partition, element.offset, metadata.to_vec(), element.err.into())
                })
                .collect()
        }
    }
}

impl Drop for PartitionList {
    fn drop(&mut self) {
        // SAFETY: ours, and dropped once.
        unsafe { rd::rd_kafka_topic_partition_list_destroy(self.0.as_ptr()) }
    }
}

/// An error of a transactional call, with what it asks for.
#[derive(Clone, Debug)]
pub struct TxnError {
    /// The code.
    pub code: Code,
    /// What librdkafka says.
    pub message: String,
    /// The producer is of no use any more.
    pub fatal: bool,
    /// The same call may go through.
    pub retriable: bool,
    /// The transaction has to be aborted.
    pub abort: bool,
}

unsafe fn check(error: *mut rd::rd_kafka_error_t) -> Result<(), TxnError> {
    if error.is_null() {
        return Ok(());
    }
    // SAFETY: a librdkafka error that the caller got just now and hands over.
    unsafe {
        let found = TxnError {
            code: rd::rd_kafka_error_code(error).into(),
            message: text(rd::rd_kafka_error_string(error)),
            fatal: rd::rd_kafka_error_is_fatal(error) != 0,
            retriable: rd::rd_kafka_error_is_retriable(error) != 0,
            abort: rd::rd_kafka_error_txn_requires_abort(error) != 0,
        };
        rd::rd_kafka_error_destroy(error);
        Err(found)
    }
}

/// The transactional calls of a producer, whose delivery reports another thread has to serve meanwhile.
#[derive(Clone, Copy)]
pub struct Txn<'a>(*mut rd::rd_kafka_t, PhantomData<&'a ()>);

impl Txn<'_> {
    /// Of this client, which must live as long (the lifetime is the caller's to choose: a borrow of the producer).
    pub fn of(client: *mut rd::rd_kafka_t) -> Self {
        Txn(client, PhantomData)
    }

    /// Fences predecessors with the same transactional id and completes what they left.
    pub fn init(self, timeout: Duration) -> Result<(), TxnError> {
        // SAFETY: the client lives.
        unsafe { check(rd::rd_kafka_init_transactions(self.0, millis(timeout))) }
    }

    /// Begins one.
    pub fn begin(self) -> Result<(), TxnError> {
        // SAFETY: the client lives.
        unsafe { check(rd::rd_kafka_begin_transaction(self.0)) }
    }

    /// Adds group offsets.
    pub fn send_offsets(
        self,
        offsets: &PartitionList,
        group: &Group,
        timeout: Duration,
    ) -> Result<(), TxnError> {
        // SAFETY: client, list and metadata live; librdkafka copies both.
        unsafe {
            let error = rd::rd_kafka_send_offsets_to_transaction(
                self.0,
                offsets.0.as_ptr(),
                group.0.as_ptr(),
                millis(timeout),
            );
            check(error)
        }
    }

    /// Commits; waits for deliveries itself, without lingering.
    pub fn commit(self, timeout: Duration) -> Result<(), TxnError> {
        // SAFETY: the client lives.
        unsafe { check(rd::rd_kafka_commit_transaction(self.0, millis(timeout))) }
    }

    /// Aborts.
    pub fn abort(self, timeout: Duration) -> Result<(), TxnError> {
        // SAFETY: the client lives.
        unsafe { check(rd::rd_kafka_abort_transaction(self.0, millis(timeout))) }
    }
}

/// Which member of the group speaks, in which generation.
pub struct Group(NonNull<rd::rd_kafka_consumer_group_metadata_t>);

impl Group {
    /// As of now; `None` if the client is no group member.
    pub fn of(client: *mut rd::rd_kafka_t) -> Option<Group> {
        // SAFETY: the client lives; what it returns is ours.
        NonNull::new(unsafe { rd::rd_kafka_consumer_group_metadata(client) }).map(Group)
    }

    /// The generation; below 0 outside of one.
    pub fn generation(&self) -> i32 {
        // SAFETY: ours.
        unsafe { rd::rd_kafka_consumer_group_metadata_generation_id(self.0.as_ptr()) }
    }

    /// The member id; empty before the first join.
    pub fn member(&self) -> String {
        // SAFETY: ours.
        unsafe { text(rd::rd_kafka_consumer_group_metadata_member_id(self.0.as_ptr())) }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // SAFETY: ours, and dropped once.
        unsafe { rd::rd_kafka_consumer_group_metadata_destroy(self.0.as_ptr()) }
    }
}

/// So often the leaders are looked up anew before a question for offsets fails.
const LOOKUPS: usize = 3;

/// Asks for offsets of partitions, no partition twice, in one request per leading broker; answers in any order, with the
/// timestamp of the record where the question was for [`NEWEST`], else −1.
/// `committed`: up to the last stable offset, not the high watermark.
pub fn list_offsets(
    client: *mut rd::rd_kafka_t,
    questions: &[At],
    committed: bool,
    timeout: Duration,
) -> Result<Vec<(At, i64)>, (Code, String)> {
    let mut lookups = 0;
    loop {
        match ask_offsets(client, questions, committed, timeout) {
            // librdkafka asks whom it knows as the leader, in the epoch that it knows. Where only the epoch has changed (a
            // broker was restarted), or where it last heard that there is no leader, it does not look again by itself, and
            // fails for minutes.
            Err((
                Code::FencedLeaderEpoch
                | Code::UnknownLeaderEpoch
                | Code::NotLeaderForPartition
                | Code::LeaderNotAvailable
                | Code::NoEnt,
                _,
            )) if lookups < LOOKUPS => {
                lookups += 1;
                look_up(client, timeout);
            }
            answer => return answer,
        }
    }
}

/// Asks for the leaders of all topics that the client knows.
fn look_up(client: *mut rd::rd_kafka_t, timeout: Duration) {
    let mut found: *const rd::rd_kafka_metadata = std::ptr::null();
    // SAFETY: the client lives; the answer, which its cache takes in, is destroyed here.
    unsafe {
        let code = rd::rd_kafka_metadata(client, 0, std::ptr::null_mut(), &raw mut found, millis(timeout));
        if !found.is_null() {
            rd::rd_kafka_metadata_destroy(found);
        }
        tracing::debug!(target: "kafka", "the leaders were looked up anew: {}", Code::from(code));
    }
}

fn ask_offsets(
    client: *mut rd::rd_kafka_t,
    questions: &[At],
    committed: bool,
    timeout: Duration,
) -> Result<Vec<(At, i64)>, (Code, String)> {
    if questions.is_empty() {
        return Ok(Vec::new());
    }
    let list = PartitionList::new(questions.iter().map(|at| (&*at.topic, at.partition, at.offset, None)));
    // SAFETY: options, queue and event are made, used and destroyed here; the result belongs to the event.
    unsafe {
        let options =
            rd::rd_kafka_AdminOptions_new(client, rd::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_LISTOFFSETS);
        let mut words = [0 as c_char; 256];
        rd::rd_kafka_AdminOptions_set_request_timeout(
            options,
            millis(timeout),
            words.as_mut_ptr(),
            words.len(),
        );
        let isolation = if committed {
            rd::rd_kafka_IsolationLevel_t::RD_KAFKA_ISOLATION_LEVEL_READ_COMMITTED
        } else {
            rd::rd_kafka_IsolationLevel_t::RD_KAFKA_ISOLATION_LEVEL_READ_UNCOMMITTED
        };
        let _ = check(rd::rd_kafka_AdminOptions_set_isolation_level(options, isolation));
        let queue = rd::rd_kafka_queue_new(client);
        rd::rd_kafka_ListOffsets(client, list.0.as_ptr(), options, queue);
        rd::rd_kafka_AdminOptions_destroy(options);
        // The request times out by itself; a little more, so that its own words arrive.
        let event = rd::rd_kafka_queue_poll(queue, millis(timeout + Duration::from_secs(1)));
        let answer = read_offsets(event);
        if !event.is_null() {
            rd::rd_kafka_event_destroy(event);
        }
        rd::rd_kafka_queue_destroy(queue);
        answer
    }
}

unsafe fn read_offsets(event: *mut rd::rd_kafka_event_t) -> Result<Vec<(At, i64)>, (Code, String)> {
    if event.is_null() {
        return Err((Code::OperationTimedOut, "no answer".to_owned()));
    }
    // SAFETY: the caller's event lives; infos and their partitions live as long as it.
    unsafe {
        let code: Code = rd::rd_kafka_event_error(event).into();
        if code != Code::NoError {
            return Err((code, text(rd::rd_kafka_event_error_string(event))));
        }
        let result = rd::rd_kafka_event_ListOffsets_result(event);
        if result.is_null() {
            return Err((Code::Fail, "an event that is no answer".to_owned()));
        }
        let mut count = 0;
        let infos = rd::rd_kafka_ListOffsets_result_infos(result, &mut count);
        let mut found = Vec::with_capacity(count);
        for index in 0..count {
            let partition = &*rd::rd_kafka_ListOffsetsResultInfo_topic_partition(*infos.add(index));
            let at = At {
                topic: text(partition.topic),
                partition: partition.partition as u32,
                offset: partition.offset,
            };
            let code: Code = partition.err.into();
            if code != Code::NoError {
                return Err((code, format!("{}, partition {}: {code}", at.topic, at.partition)));
            }
            found.push((at, rd::rd_kafka_ListOffsetsResultInfo_timestamp(*infos.add(index))));
        }
        Ok(found)
    }
}

/// The group's offsets with metadata and errors; waits for stable ones if the client reads committed records only.
pub fn committed(
    client: *mut rd::rd_kafka_t,
    list: &PartitionList,
    timeout: Duration,
) -> Result<(), (Code, String)> {
    // SAFETY: client and list live.
    let code: Code = unsafe { rd::rd_kafka_committed(client, list.0.as_ptr(), millis(timeout)) }.into();
    if code == Code::NoError { Ok(()) } else { Err((code, code.to_string())) }
}

/// A consumer that reads what it is told to, in no group: assignments with explicit offsets, records in batches.
pub struct Reader {
    client: NonNull<rd::rd_kafka_t>,
    queue: NonNull<rd::rd_kafka_queue_t>,
    /// What a batch returned and nobody took yet.
    ready: VecDeque<Message>,
    batch: Vec<*mut rd::rd_kafka_message_t>,
    watch: Arc<Watch>,
}

// SAFETY: librdkafka's clients, queues and messages may be used from any thread; the reader is used by one at a time.
unsafe impl Send for Reader {}

unsafe extern "C" fn on_log(
    _: *const rd::rd_kafka_t,
    level: c_int,
    facility: *const c_char,
    words: *const c_char,
) {
    // SAFETY: librdkafka's strings, alive during the call.
    unsafe { errors::log(level, &text(facility), &text(words)) }
}

unsafe extern "C" fn on_error(
    _: *mut rd::rd_kafka_t,
    code: c_int,
    reason: *const c_char,
    watch: *mut c_void,
) {
    // SAFETY: the opaque pointer is the reader's watch, which outlives the client; librdkafka's codes are its enum's.
    unsafe {
        let code: rd::rd_kafka_resp_err_t = std::mem::transmute(code);
        (*watch.cast::<Watch>()).note(code.into(), &text(reason));
    }
}

impl Reader {
    /// A reader with this configuration, which must name a group (it is never joined).
    pub fn new(config: &ClientConfig) -> Result<Reader, (Code, String)> {
        let watch = Arc::new(Watch::new(config.get("bootstrap.servers").unwrap_or_default()));
        let native =
            config.create_native_config().map_err(|error| (Code::InvalidArgument, error.to_string()))?;
        // SAFETY: the configuration is ours until rd_kafka_new takes it; on failure it stays ours.
        unsafe {
            rd::rd_kafka_conf_set_opaque(native.ptr(), Arc::as_ptr(&watch).cast_mut().cast());
            rd::rd_kafka_conf_set_log_cb(native.ptr(), Some(on_log));
            rd::rd_kafka_conf_set_error_cb(native.ptr(), Some(on_error));
            let mut words = [0 as c_char; 512];
            let kind = rd::rd_kafka_type_t::RD_KAFKA_CONSUMER;
            let client = rd::rd_kafka_new(kind, native.ptr(), words.as_mut_ptr(), words.len());
            let Some(client) = NonNull::new(client) else {
                return Err((Code::InvalidArgument, text(words.as_ptr())));
            };
            let _taken = ManuallyDrop::new(native);
            rd::rd_kafka_poll_set_consumer(client.as_ptr());
            let queue = NonNull::new(rd::rd_kafka_queue_get_consumer(client.as_ptr()));
            let Some(queue) = queue else {
                rd::rd_kafka_destroy(client.as_ptr());
                return Err((Code::InvalidArgument, "the configuration names no group.id".to_owned()));
            };
            Ok(Reader { client, queue, ready: VecDeque::new(), batch: Vec::new(), watch })
        }
    }

    /// The client, for calls of this module.
    pub fn client(&self) -> *mut rd::rd_kafka_t {
        self.client.as_ptr()
    }

    /// What went wrong lately.
    pub fn watch(&self) -> &Watch {
        &self.watch
    }

    /// Reads these partitions too, from these offsets; none of them may be assigned.
    pub fn assign(&mut self, partitions: &[At]) -> Result<(), TxnError> {
        let list =
            PartitionList::new(partitions.iter().map(|at| (&*at.topic, at.partition, at.offset, None)));
        // SAFETY: client and list live.
        unsafe { check(rd::rd_kafka_incremental_assign(self.client.as_ptr(), list.0.as_ptr())) }
    }

    /// Stops reading these partitions; what was fetched of them is dropped, here and in librdkafka.
    pub fn unassign(&mut self, partitions: &[At]) -> Result<(), TxnError> {
        let list =
            PartitionList::new(partitions.iter().map(|at| (&*at.topic, at.partition, at.offset, None)));
        let gone = |message: &Message| {
            let topic = message.topic();
            partitions.iter().any(|at| at.partition == message.partition() && at.topic.as_bytes() == topic)
        };
        self.ready.retain(|message| !gone(message));
        // SAFETY: client and list live.
        unsafe { check(rd::rd_kafka_incremental_unassign(self.client.as_ptr(), list.0.as_ptr())) }
    }

    /// The next record or notice, waiting up to `wait` for it.
    pub fn next(&mut self, wait: Duration) -> Option<Message> {
        if self.ready.is_empty() {
            self.fetch(wait);
        }
        self.ready.pop_front()
    }

    /// Gives a message back, to be the next one again.
    pub fn put_back(&mut self, message: Message) {
        self.ready.push_front(message);
    }

    /// A batch call waits until the batch is full, so: wait for one, then take what else is there.
    fn fetch(&mut self, wait: Duration) {
        const BATCH: usize = 2_000;
        self.batch.resize(BATCH, ptr::null_mut());
        if self.take(BATCH, Duration::ZERO) == 0 && !wait.is_zero() && self.take(1, wait) > 0 {
            self.take(BATCH - 1, Duration::ZERO);
        }
    }

    fn take(&mut self, room: usize, wait: Duration) -> usize {
        let array = self.batch.as_mut_ptr();
        // SAFETY: the array has room for that many, `room` being at most its length; what the call returns is ours.
        let count =
            unsafe { rd::rd_kafka_consume_batch_queue(self.queue.as_ptr(), millis(wait), array, room) };
        let count = usize::try_from(count).unwrap_or(0);
        self.ready
            .extend(self.batch[..count].iter().filter_map(|message| NonNull::new(*message).map(Message)));
        count
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        // Messages hold on to the client, which waits for them when it is destroyed.
        self.ready.clear();
        // SAFETY: ours, and dropped once. In no group, so there is none to leave.
        unsafe {
            rd::rd_kafka_queue_destroy(self.queue.as_ptr());
            rd::rd_kafka_destroy_flags(self.client.as_ptr(), rd::RD_KAFKA_DESTROY_F_NO_CONSUMER_CLOSE);
        }
    }
}

/// A record, or a notice about a partition. Must not outlive its reader: see [`Reader::drop`].
pub struct Message(NonNull<rd::rd_kafka_message_t>);

impl Message {
    fn raw(&self) -> &rd::rd_kafka_message_t {
        // SAFETY: ours until dropped.
        unsafe { self.0.as_ref() }
    }

    /// What it is a notice of; `NoError` for a record.
    pub fn code(&self) -> Code {
        self.raw().err.into()
    }

    /// The words of a notice.
    pub fn words(&self) -> String {
        // SAFETY: the payload of an error is its text.
        let words = unsafe { bytes(self.raw().payload, self.raw().len) };
        String::from_utf8_lossy(words.unwrap_or_default()).into_owned()
    }

    /// A number that says which topic it is of, as long as any of its messages lives.
    pub fn topic_id(&self) -> usize {
        self.raw().rkt as usize
    }

    /// The topic's name; empty if it is of none.
    pub fn topic(&self) -> &[u8] {
        if self.raw().rkt.is_null() {
            return b"";
        }
        // SAFETY: the message holds the topic, which holds its name.
        unsafe { CStr::from_ptr(rd::rd_kafka_topic_name(self.raw().rkt)) }.to_bytes()
    }

    /// The partition.
    pub fn partition(&self) -> u32 {
        self.raw().partition as u32
    }

    /// The offset; of an end of partition, the next one to be read.
    pub fn offset(&self) -> u64 {
        self.raw().offset.max(0) as u64
    }

    /// The record, its headers in `headers`.
    pub fn record<'a>(&'a self, headers: &'a mut Vec<Header>) -> Scanned<'a> {
        headers.clear();
        // SAFETY: key, payload and headers live as long as the message.
        unsafe {
            let mut list = ptr::null_mut();
            let found = rd::rd_kafka_message_headers(self.0.as_ptr(), &mut list);
            let (mut name, mut value, mut size) = (ptr::null(), ptr::null(), 0);
            while found == rd::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR
                && rd::rd_kafka_header_get_all(list, headers.len(), &mut name, &mut value, &mut size)
                    == rd::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR
            {
                headers.push((text(name), bytes(value, size).unwrap_or_default().to_vec()));
            }
            let mut kind = rd::rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_NOT_AVAILABLE;
            let timestamp = rd::rd_kafka_message_timestamp(self.0.as_ptr(), &mut kind);
            Scanned {
                offset: self.offset(),
                timestamp: Timestamp::from_millis(timestamp),
                key: bytes(self.raw().key, self.raw().key_len),
                value: bytes(self.raw().payload, self.raw().len),
                headers,
            }
        }
    }
}

impl Drop for Message {
    fn drop(&mut self) {
        // SAFETY: ours, and dropped once.
        unsafe { rd::rd_kafka_message_destroy(self.0.as_ptr()) }
    }
}
