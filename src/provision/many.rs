//! Many machines at once.

use futures_util::StreamExt;
use futures_util::stream;

/// Does `work` for every item, at most `concurrent` at once (at least one); the results stand in
/// the items' order. One failure does not keep the others from going on.
pub async fn for_each<Item, Work, Done>(
    items: Vec<Item>,
    concurrent: usize,
    work: impl Fn(Item) -> Work,
) -> Vec<Done>
where
    Work: Future<Output = Done>,
{
    let mut results: Vec<(usize, Done)> = stream::iter(items.into_iter().enumerate())
        .map(|(index, item)| {
            let done = work(item);
            async move { (index, done.await) }
        })
        .buffer_unordered(concurrent.max(1))
        .collect()
        .await;
    results.sort_by_key(|(index, _)| *index);
    results.into_iter().map(|(_, done)| done).collect()
}
