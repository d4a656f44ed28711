//! The memory that passwords are hashed in: taken once for each that is hashed at the same time, and kept for the next.
//!
//! Given back after each hash, 19 MiB and more would stay with every thread that ever hashed, because the allocator keeps
//! what a thread frees for that thread; a hundred logins at once left a gigabyte behind.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use argon2::{Argon2, Block};

/// Memory for one hash at a time. It grows to what that needs.
#[derive(Default)]
pub(super) struct HashMemory(Vec<Block>);

impl HashMemory {
    /// Fills `hash` with what `argon2` makes of a password.
    pub(super) fn hash(
        &mut self,
        argon2: &Argon2<'_>,
        password: &[u8],
        salt: &[u8],
        hash: &mut [u8],
    ) -> Result<(), argon2::Error> {
        self.0.resize(argon2.params().block_count(), Block::new());
        argon2.hash_password_into_with_memory(password, salt, hash, &mut self.0)
    }
}

/// Those that are free. Clones share them; there are as many as were ever in use at once.
#[derive(Clone, Default)]
pub(super) struct HashMemories(Arc<Mutex<Vec<HashMemory>>>);

impl HashMemories {
    /// Works in one that is free, or in a new one, and wipes it.
    pub(super) fn work<T>(&self, work: impl FnOnce(&mut HashMemory) -> T) -> T {
        let taken = self.0.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let mut memory = taken.unwrap_or_default();
        let done = work(&mut memory);
        memory.0.fill(Block::new());
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(memory);
        done
    }
}

impl fmt::Debug for HashMemories {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

#[cfg(test)]
mod tests {
    use argon2::{Algorithm, Params, Version};

    use super::*;

    fn argon2(blocks: u32) -> Argon2<'static> {
        Argon2::new(Algorithm::Argon2id, Version::V0x13, Params::new(blocks, 1, 1, None).unwrap())
    }

    fn hashed(memories: &HashMemories, blocks: u32) -> [u8; 32] {
        let mut hash = [0; 32];
        memories.work(|memory| memory.hash(&argon2(blocks), b"heron", &[1; 16], &mut hash)).unwrap();
        hash
    }

    #[test]
    fn i02_one_after_the_other_is_hashed_in_the_same_memory_which_is_left_wiped() {
        let memories = HashMemories::default();
        assert_ne!(hashed(&memories, 64), [0; 32]);
        hashed(&memories, 64);
        let free = memories.0.lock().unwrap();
        assert_eq!(free.iter().map(|memory| memory.0.len()).collect::<Vec<_>>(), [64]);
        assert!(
            free.iter()
                .flat_map(|memory| &memory.0)
                .all(|block| block.as_ref().iter().all(|word| *word == 0))
        );
    }

    #[test]
    fn i02_two_at_once_have_memory_of_their_own() {
        let memories = HashMemories::default();
        memories.work(|_| hashed(&memories, 64));
        assert_eq!(memories.0.lock().unwrap().len(), 2);
    }

    #[test]
    fn what_was_hashed_before_changes_no_hash() {
        let (used, mut expected) = (HashMemories::default(), [0; 32]);
        argon2(32).hash_password_into(b"heron", &[1; 16], &mut expected).unwrap();
        for blocks in [64, 16, 32] {
            hashed(&used, blocks);
        }
        assert_eq!(hashed(&used, 32), expected);
    }
}
