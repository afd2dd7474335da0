// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/kustomizer/kustomizer/internal/cause"
	"github.com/kustomizer/kustomizer/internal/object"
)

// Presence says what is known of an object's existence. Its zero value is Unknown, so that what
// nobody looked at is never taken for absent.
type Presence int

// What can be known of an object's existence.
const (
	Unknown Presence = iota
	Absent
	Present
)

// Live is what the cluster said about an object.
type Live struct {
	Presence Presence
	Object   *unstructured.Unstructured // set when Present
	Cause    cause.Cause                // why Unknown
}

// Rehearsal is the API server's answer to a dry-run of one object's apply.
type Rehearsal struct {
	Result  *unstructured.Unstructured // as it would be stored
	Created bool                       // it does not exist yet
	Failed  *cause.Cause               // why the server refuses
	// Webhook names one that doesn't support dry-runs, where the server can't say for that reason.
	// Created is then what a read has shown.
	Webhook string
	// Spared: it is the only object of its set that is in doubt, so its apply is the question. See
	// [Sparable].
	Spared bool
	// Deferred: it can't be asked before an earlier stage is in the cluster, because the object's
	// namespace or kind comes with the same set.
	Deferred bool
}

// Want is one object of the desired set, as it would be sent.
type Want struct {
	ID     object.ID
	Object *unstructured.Unstructured
	Hash   string // of Object, by [HashOf]
	// Rendered is the hash of what was rendered, where Object differs from that because of what
	// lives: replicas that are left to an autoscaler.
	Rendered string
}

// NewWant makes a Want of an object that is ready to be sent.
func NewWant(u *unstructured.Unstructured) (Want, error) {
	hash, err := HashOf(u)
	return Want{ID: object.Of(u), Object: u, Hash: hash}, err
}

// HashOf returns a hash of an object's content that doesn't depend on the order of its keys.
func HashOf(u *unstructured.Unstructured) (string, error) {
	b, err := json.Marshal(u.Object)
	if err != nil {
		return "", fmt.Errorf("encoding %s: %w", object.Of(u), err)
	}
	return shortHash(b), nil
}

// shortHash returns 128 bits of SHA-256: enough that no two contents share it by accident, and
// half as long in a record that holds thousands.
func shortHash(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:16])
}

// Facts is everything a plan is made from.
type Facts struct {
	Owner      Owner
	Wants      []Want
	Record     map[object.ID]Entry
	Live       map[object.ID]Live
	Rehearsals map[object.ID]Rehearsal
	// Claims names, for objects that carry another owner's labels, the owner whose record proves
	// that it applied them.
	Claims map[object.ID]Owner
	// Claimants names, for objects that left the set, another owner that has them in its own: it
	// is left to that owner to take them over.
	Claimants map[object.ID]Owner
	// Unseen says why it is not known whether others claim what left the set, where it is not.
	Unseen string
	// Stakes says what goes with objects that would be deleted.
	Stakes map[object.ID]Stake
	// Fleet is how many objects the same revision deletes, or would delete, elsewhere, and how many
	// it has deleted here before.
	Fleet int
	// Empty says why the render has no objects, where it has none.
	Empty string
	// Origin binds an approval: the artifact's digest and the owner's generation.
	Origin string
}

// Policy is what the owner asks for.
type Policy struct {
	Prune    bool
	Force    bool   // replace objects with changed immutable fields
	GuardOff bool   // delete without the brake, as Flux does
	Approved string // hash of the plan whose deletions a person approved
	// Adopt takes over objects that belong to another owner of the same kind. One of another kind
	// would keep its own labels on them, and go on deleting them.
	Adopt bool
	// Order is the order of application; deletions go the other way.
	Order object.Order
	// Protected lists namespaces that are never deleted, beside the system's own.
	Protected []string
	// ProtectKinds lists kinds, beside the built-in ones, whose objects are deleted only after a
	// person's approval. See [ParseKinds].
	ProtectKinds []schema.GroupKind
	// FleetLimit is how many objects one revision may delete over all owners; 0 for any number.
	FleetLimit int
	// Overrides lists field managers, beside the built-in ones, whose changes are undone.
	Overrides []string
}

// Settled says whether the facts at hand already prove that an object is as wanted, so that the
// server need not be asked: what would be sent is what was sent, and what lives is what came back.
func Settled(owner Owner, want Want, entry Entry, live Live, policy Policy) bool {
	return live.Presence == Present &&
		!entry.Pending && entry.Ours() &&
		entry.UID == string(live.Object.GetUID()) &&
		live.Object.GetDeletionTimestamp() == nil &&
		entry.Desired == want.Hash &&
		entry.Live != "" && entry.Live == Fingerprint(live.Object, owner.Manager) &&
		!overridden(live.Object, owner.Manager, policy.Overrides)
}
