//! Threads as members of a list or a tree: the one place where a queue turns a link into a reference.

use core::mem::ManuallyDrop;
use core::ptr::NonNull;

use super::entity::{Entity, PolicyWords, Runnable};

/// A thread that a collection took as a [`Runnable`] and did not give out since. The collection has its token's rights.
pub(super) type Node = NonNull<Entity>;

/// Returns the token of a member, to look at. The caller must not give it out.
///
/// # Safety
/// The caller's collection contains the member, and is borrowed while the token is used: no other token of the thread, and no
/// reference to its words that may write, exists meanwhile.
#[inline(always)]
pub(super) unsafe fn token(member: Node) -> ManuallyDrop<Runnable> {
    // SAFETY: no other token may exist, and the entity must stay valid: guaranteed by the caller (see # Safety). The token
    // by which the collection took the thread is gone, because `Runnable::into_entity` consumed it.
    ManuallyDrop::new(unsafe { Runnable::new(member) })
}

/// Returns the words of a member.
///
/// # Safety
/// The caller's collection contains the member, and is borrowed for `'a`.
#[inline(always)]
pub(super) unsafe fn words<'a>(member: Node) -> &'a PolicyWords {
    // SAFETY: the collection must contain the member and be borrowed, guaranteed by the caller (see # Safety).
    let token = unsafe { token(member) };
    let words: *const PolicyWords = token.words();
    // SAFETY: the words must be valid and not change for `'a`. They lie in the entity, which is valid while the collection
    // contains it, and only the collection changes them: it is borrowed for `'a` (see # Safety).
    unsafe { &*words }
}

/// Returns the words of a member, to change them.
///
/// # Safety
/// The caller's collection contains the member, and is borrowed mutably for `'a`.
#[inline(always)]
pub(super) unsafe fn words_mut<'a>(member: Node) -> &'a mut PolicyWords {
    // SAFETY: the collection must contain the member and be borrowed, guaranteed by the caller (see # Safety).
    let mut token = unsafe { token(member) };
    let words: *mut PolicyWords = token.words_mut();
    // SAFETY: nothing else may reach the words for `'a`. They lie in the entity, which is valid while the collection contains
    // it, and only the collection reaches them: it is borrowed mutably for `'a` (see # Safety).
    unsafe { &mut *words }
}
