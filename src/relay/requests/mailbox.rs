//! What replicas need of the database to pass requests to each other, as a seam.

use time::OffsetDateTime;
use zeroize::Zeroizing;

use crate::{
    domain::ids::{InquiryId, ReplicaId},
    relay::source::Answer,
    store::{NewRelayRequest, Store, TakenRequest, WaitingRequest},
};

/// Requests and answers between replicas.
pub trait Mailbox: Send + Sync + 'static {
    /// Notes that a replica runs, and forgets what is over.
    fn tend(&self, replica: ReplicaId, gone: OffsetDateTime, now: OffsetDateTime) -> Answer<'_, ()>;

    /// Notes that a replica ends.
    fn leave(&self, replica: ReplicaId) -> Answer<'_, ()>;

    /// Puts a request where others find it. Whether there are any.
    fn post<'a>(&'a self, new: &'a NewRelayRequest<'a>, gone: OffsetDateTime) -> Answer<'a, bool>;

    /// For whom others wait: a page of them, after `last`.
    fn waiting<'a>(
        &'a self,
        replica: ReplicaId,
        last: Option<&'a WaitingRequest>,
    ) -> Answer<'a, Vec<WaitingRequest>>;

    /// Takes those of these that nobody else has taken.
    fn take<'a>(&'a self, ids: &'a [InquiryId]) -> Answer<'a, Vec<TakenRequest>>;

    /// Which of these somebody still waits for.
    fn awaited<'a>(&'a self, ids: &'a [InquiryId]) -> Answer<'a, Vec<InquiryId>>;

    /// Answers what was taken.
    fn answer<'a>(&'a self, id: InquiryId, answer: &'a str) -> Answer<'a, ()>;

    /// Takes away what was answered of these.
    fn collect<'a>(&'a self, ids: &'a [InquiryId]) -> Answer<'a, Vec<(InquiryId, Zeroizing<String>)>>;

    /// Takes back what nobody has taken. Whether it was there.
    fn withdraw(&self, id: InquiryId) -> Answer<'_, bool>;

    /// Takes back what nobody waits for any more, whether it was taken or not.
    fn abandon(&self, id: InquiryId) -> Answer<'_, ()>;
}

impl Mailbox for Store {
    fn tend(&self, replica: ReplicaId, gone: OffsetDateTime, now: OffsetDateTime) -> Answer<'_, ()> {
        Box::pin(self.tend_relay_requests(replica, gone, now))
    }

    fn leave(&self, replica: ReplicaId) -> Answer<'_, ()> {
        Box::pin(self.forget_replica(replica))
    }

    fn post<'a>(&'a self, new: &'a NewRelayRequest<'a>, gone: OffsetDateTime) -> Answer<'a, bool> {
        Box::pin(self.post_relay_request(new, gone))
    }

    fn waiting<'a>(
        &'a self,
        replica: ReplicaId,
        last: Option<&'a WaitingRequest>,
    ) -> Answer<'a, Vec<WaitingRequest>> {
        Box::pin(self.list_waiting_requests(replica, last))
    }

    fn take<'a>(&'a self, ids: &'a [InquiryId]) -> Answer<'a, Vec<TakenRequest>> {
        Box::pin(self.take_relay_requests(ids))
    }

    fn awaited<'a>(&'a self, ids: &'a [InquiryId]) -> Answer<'a, Vec<InquiryId>> {
        Box::pin(self.list_awaited_requests(ids))
    }

    fn answer<'a>(&'a self, id: InquiryId, answer: &'a str) -> Answer<'a, ()> {
        Box::pin(self.answer_relay_request(id, answer))
    }

    fn collect<'a>(&'a self, ids: &'a [InquiryId]) -> Answer<'a, Vec<(InquiryId, Zeroizing<String>)>> {
        Box::pin(self.collect_answers(ids))
    }

    fn withdraw(&self, id: InquiryId) -> Answer<'_, bool> {
        Box::pin(self.withdraw_relay_request(id))
    }

    fn abandon(&self, id: InquiryId) -> Answer<'_, ()> {
        Box::pin(self.abandon_relay_request(id))
    }
}
