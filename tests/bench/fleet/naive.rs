//! What many handlers do: scan all target groups, and deregister the instance from one after the other, by its id alone.

use std::sync::Arc;
use std::time::Duration;

use spot_interrupt_handler::plan::binding::TargetId;
use spot_interrupt_handler::plan::id::TargetGroupArn;

use super::account::{Account, Refusal};
use super::node::named;

/// The SDKs' default: two more tries, after a part of a second, doubled.
const ATTEMPTS: u32 = 3;

/// A page of `DescribeTargetGroups`.
const PAGE: usize = 400;

/// Scans and deregisters.
pub async fn run(account: Arc<Account>, own: TargetId, groups: Vec<TargetGroupArn>) {
    for _ in groups.chunks(PAGE) {
        let _ = retried(&account, || account.list_groups()).await;
    }
    for group in &groups {
        let healths = retried(&account, || account.describe(group, &[])).await;
        let is_there = healths.is_ok_and(|healths| {
            let mut targets = healths.iter();
            targets.any(|health| health.target.id == own)
        });
        if is_there {
            let by_id = [named(&own, None)];
            let _ = retried(&account, || account.deregister(group, &by_id)).await;
        }
    }
}

async fn retried<T, F: Future<Output = Result<T, Refusal>>>(
    account: &Account,
    call: impl Fn() -> F,
) -> Result<T, Refusal> {
    let mut wait = Duration::from_secs(1);
    for _ in 1..ATTEMPTS {
        match call().await {
            Err(Refusal::Throttled) => {}
            answer => return answer,
        }
        let part = account.part_of(wait);
        account.clock().sleep(part).await;
        wait *= 2;
    }
    call().await
}
