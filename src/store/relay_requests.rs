//! Requests and commands on their way between replicas: one asks, the one that has the connection takes and answers.
//!
//! Each step is one guarded statement: a row is taken by one replica, answered by the one that took it, and collected
//! by the one that asked. What nobody collects is forgotten when its time is over; what nobody has taken, soon after it
//! was posted. That time is so short that the clocks of replicas are no measure of it: the database's is.

use std::time::Duration;

use time::OffsetDateTime;
use uuid::Uuid;
use zeroize::Zeroizing;

use super::{Column, Store, StoreError, column, parse_column};
use crate::domain::{
    ids::{DeviceId, InquiryId, ReplicaId, SlotName},
    inquiry::Wanted,
};

const FRAME: Column = column!("relay_requests", "frame");
const ANSWER: Column = column!("relay_requests", "answer");

/// Rows of one page of those that wait to be taken.
pub const WAITING_PAGE: usize = 256;

/// Something to be brought by another replica.
pub struct NewRelayRequest<'a> {
    /// Its id.
    pub id: InquiryId,
    /// Who waits.
    pub asked_by: ReplicaId,
    /// For which device.
    pub device: DeviceId,
    /// For which slot of it; none where it is for the hub.
    pub slot: Option<&'a SlotName>,
    /// What is expected back.
    pub wanted: Wanted,
    /// The frame to send.
    pub frame: &'a str,
    /// For another replica to take it, from now on.
    pub taking: Duration,
    /// Until when somebody waits for the answer.
    pub expires_at: OffsetDateTime,
}

/// For whom something waits to be taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WaitingRequest {
    /// Its id.
    pub id: InquiryId,
    /// Until when it can be taken, by the clock of the database.
    pub take_by: OffsetDateTime,
    /// The device.
    pub device: DeviceId,
    /// The slot; none where it is for the hub.
    pub slot: Option<SlotName>,
}

/// What this replica took, and alone has to bring.
pub struct TakenRequest {
    /// For whom.
    pub waiting: WaitingRequest,
    /// Who waits.
    pub asked_by: ReplicaId,
    /// What is expected back.
    pub wanted: Wanted,
    /// The frame to send.
    pub frame: Zeroizing<String>,
    /// Until when somebody waits.
    pub expires_at: OffsetDateTime,
}

impl Store {
    /// Notes that a replica runs, and forgets those that don't and what nobody waits for any more.
    pub async fn tend_relay_requests(
        &self,
        replica: ReplicaId,
        gone: OffsetDateTime,
        now: OffsetDateTime,
    ) -> Result<(), StoreError> {
        sqlx::query!(
            "-- tend_relay_requests
            with forgotten as (
                delete from relay_requests where expires_at < $3 or frame is not null and take_by < now()),
            gone as (delete from relay_replicas where seen_at < $2 and id <> $1)
            insert into relay_replicas (id, seen_at) values ($1, $3)
            on conflict (id) do update set seen_at = excluded.seen_at",
            replica.0,
            gone,
            now
        )
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    /// Notes that a replica ends.
    pub async fn forget_replica(&self, replica: ReplicaId) -> Result<(), StoreError> {
        sqlx::query!("-- forget_replica\ndelete from relay_replicas where id = $1", replica.0)
            .execute(&self.pool)
            .await?;
        Ok(())
    }

    /// Puts a request where other replicas find it. Whether there is another one, seen after `gone`.
    pub async fn post_relay_request(
        &self,
        new: &NewRelayRequest<'_>,
        gone: OffsetDateTime,
    ) -> Result<bool, StoreError> {
        let done = sqlx::query!(
            "-- post_relay_request
            insert into relay_requests (id, asked_by, device, slot, wanted, frame, expires_at, take_by)
            select $1, $2, $3, $4, $5, $6, $7, now() + make_interval(secs => $8)
            where exists (select 1 from relay_replicas where id <> $2 and seen_at > $9)",
            new.id.0,
            new.asked_by.0,
            new.device.0,
            new.slot.map(SlotName::as_str),
            new.wanted.as_str(),
            self.seal(FRAME, &new.id.to_string(), new.frame.as_bytes()),
            new.expires_at,
            new.taking.as_secs_f64(),
            gone
        )
        .execute(&self.pool)
        .await?;
        Ok(done.rows_affected() == 1)
    }

    /// For whom others wait, the shortest time left first: at most [`WAITING_PAGE`] of them, after `last`.
    pub async fn list_waiting_requests(
        &self,
        replica: ReplicaId,
        last: Option<&WaitingRequest>,
    ) -> Result<Vec<WaitingRequest>, StoreError> {
        let rows = sqlx::query!(
            "-- list_waiting_requests
            select id, device, slot, take_by from relay_requests
            where frame is not null and take_by > now() and asked_by <> $1
                and ($2::timestamptz is null or (take_by, id) > ($2, $3))
            order by take_by, id limit $4",
            replica.0,
            last.map(|last| last.take_by),
            last.map(|last| last.id.0),
            i64::try_from(WAITING_PAGE).unwrap_or(i64::MAX)
        )
        .fetch_all(&self.pool)
        .await?;
        rows.into_iter().map(|row| waiting(row.id, row.take_by, row.device, row.slot)).collect()
    }

    /// Takes those of these that nobody else has taken.
    pub async fn take_relay_requests(&self, ids: &[InquiryId]) -> Result<Vec<TakenRequest>, StoreError> {
        let ids: Vec<Uuid> = ids.iter().map(|id| id.0).collect();
        let rows = sqlx::query!(
            r#"-- take_relay_requests
            with free as (
                select id, asked_by, device, slot, wanted, frame, expires_at, take_by from relay_requests
                where id = any($1) and frame is not null and take_by > now() for update skip locked),
            taken as (update relay_requests r set frame = null from free where r.id = free.id returning r.id)
            select free.id, asked_by, device, slot, wanted, frame as "frame!", expires_at, take_by
            from free join taken using (id)"#,
            &ids
        )
        .fetch_all(&self.pool)
        .await?;
        rows.into_iter()
            .map(|row| {
                Ok(TakenRequest {
                    frame: self.open_text(FRAME, &row.id.to_string(), &row.frame)?,
                    waiting: waiting(row.id, row.take_by, row.device, row.slot)?,
                    asked_by: ReplicaId(row.asked_by),
                    wanted: parse_column("relay_requests.wanted", &row.wanted)?,
                    expires_at: row.expires_at,
                })
            })
            .collect()
    }

    /// Which of these somebody still waits for.
    pub async fn list_awaited_requests(&self, ids: &[InquiryId]) -> Result<Vec<InquiryId>, StoreError> {
        let ids: Vec<Uuid> = ids.iter().map(|id| id.0).collect();
        let awaited = sqlx::query_scalar!(
            "-- list_awaited_requests\nselect id from relay_requests where id = any($1)",
            &ids
        )
        .fetch_all(&self.pool)
        .await?;
        Ok(awaited.into_iter().map(InquiryId).collect())
    }

    /// Answers what was taken. An answer that nobody waits for is lost.
    pub async fn answer_relay_request(&self, id: InquiryId, answer: &str) -> Result<(), StoreError> {
        sqlx::query!(
            "-- answer_relay_request
            update relay_requests set answer = $2 where id = $1 and frame is null and answer is null",
            id.0,
            self.seal(ANSWER, &id.to_string(), answer.as_bytes())
        )
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    /// Takes away what was answered of these.
    pub async fn collect_answers(
        &self,
        ids: &[InquiryId],
    ) -> Result<Vec<(InquiryId, Zeroizing<String>)>, StoreError> {
        let ids: Vec<Uuid> = ids.iter().map(|id| id.0).collect();
        let rows = sqlx::query!(
            r#"-- collect_answers
            delete from relay_requests where id = any($1) and answer is not null returning id, answer as "answer!""#,
            &ids
        )
        .fetch_all(&self.pool)
        .await?;
        let open = |id: Uuid, sealed: &[u8]| self.open_text(ANSWER, &id.to_string(), sealed);
        rows.into_iter().map(|row| Ok((InquiryId(row.id), open(row.id, &row.answer)?))).collect()
    }

    /// Takes back what nobody has taken. Whether it was there.
    pub async fn withdraw_relay_request(&self, id: InquiryId) -> Result<bool, StoreError> {
        let done = sqlx::query!(
            "-- withdraw_relay_request\ndelete from relay_requests where id = $1 and frame is not null",
            id.0
        )
        .execute(&self.pool)
        .await?;
        Ok(done.rows_affected() == 1)
    }

    /// Takes back what nobody waits for any more, whether it was taken or not.
    pub async fn abandon_relay_request(&self, id: InquiryId) -> Result<(), StoreError> {
        sqlx::query!("-- abandon_relay_request\ndelete from relay_requests where id = $1", id.0)
            .execute(&self.pool)
            .await?;
        Ok(())
    }
}

fn waiting(
    id: Uuid,
    take_by: OffsetDateTime,
    device: Uuid,
    slot: Option<String>,
) -> Result<WaitingRequest, StoreError> {
    let slot = slot.map(|slot| parse_column("relay_requests.slot", &slot)).transpose()?;
    Ok(WaitingRequest { id: InquiryId(id), take_by, device: DeviceId(device), slot })
}
