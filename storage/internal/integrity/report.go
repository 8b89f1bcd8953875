package integrity

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"github.com/opencontainers/go-digest"
)

// maxFindings is how many findings a report lists; the others are counted.
const maxFindings = 1000

// FindingKind is what is wrong with something.
type FindingKind string

// The kinds of findings, and what Check does about them if told to.
const (
	// The index is not open, or parts of it cannot be read. A damaged one is begun
	// anew at the next start.
	FindingIndex FindingKind = "index"
	// A blob does not match its digest, is empty or cannot be read. It goes to
	// quarantine/.
	FindingDamaged FindingKind = "damaged"
	// A blob has another size than its record says. It is read: the record is
	// corrected, or the blob goes to quarantine/.
	FindingSize FindingKind = "size"
	// A blob has no record. It is read, and adopted or goes to quarantine/.
	FindingUnrecorded FindingKind = "unrecorded"
	// A record has no blob. It is dropped.
	FindingMissing FindingKind = "missing"
	// A manifest does not match its digest, or its bytes are not there. Its record
	// is dropped.
	FindingManifest FindingKind = "manifest"
	// A record of the index is not intact or of an unknown version. It is dropped.
	FindingRecord FindingKind = "record"
	// A part cannot be used any more. It is removed.
	FindingPart FindingKind = "part"
	// A snapshot of the index is damaged. It is removed, and another is written.
	FindingSnapshot FindingKind = "snapshot"
	// A file is not one of the store. It is removed, as are directories that are
	// empty.
	FindingStray FindingKind = "stray"
)

// Finding is something that is not as it should be.
type Finding struct {
	Kind   FindingKind   `json:"kind"`
	Digest digest.Digest `json:"digest,omitempty"`
	// Name is that of the file, below the directory of the store, or of the tag.
	Name   string `json:"name,omitempty"`
	Reason string `json:"reason"`
	// Done is what was done about it; empty = nothing.
	Done string `json:"done,omitempty"`
}

// FindingCount counts findings of one kind.
type FindingCount struct {
	Found    int64 `json:"found"`
	Repaired int64 `json:"repaired"`
}

// Report is what a check found.
type Report struct {
	// Verify and Repair are those of the CheckOptions.
	Verify bool `json:"verify"`
	Repair bool `json:"repair"`
	// Blobs are the finished blobs that are in order, as far as they were looked
	// at, and Bytes their size; Verified were read.
	Blobs    int64 `json:"blobs"`
	Bytes    int64 `json:"bytes"`
	Verified int64 `json:"verified"`

	RecordCounts
	FileCounts

	// Counts count all findings, by kind.
	Counts map[FindingKind]FindingCount `json:"counts"`
	// Findings are the first 1,000, sorted by kind, name and digest.
	Findings []Finding `json:"findings"`
}

// RecordCounts are the records of the index that are in order.
type RecordCounts struct {
	Manifests int64 `json:"manifests"`
	Tags      int64 `json:"tags"`
	Links     int64 `json:"links"`
	Referrers int64 `json:"referrers"`
	// TagsWithoutManifest lead to manifests that are not here: nobody has asked
	// for more than the digest, or they were lost.
	TagsWithoutManifest int64 `json:"tags_without_manifest"`
}

// FileCounts are the files beside the finished blobs.
type FileCounts struct {
	// FillsRunning and FillsSuspended are the parts in order; SuspendedBytes is
	// what the latter hold.
	FillsRunning   int64 `json:"fills_running"`
	FillsSuspended int64 `json:"fills_suspended"`
	SuspendedBytes int64 `json:"suspended_bytes"`
	// Quarantined are the files in quarantine/, with those put there by the check.
	Quarantined      int64 `json:"quarantined"`
	QuarantinedBytes int64 `json:"quarantined_bytes"`
	// Snapshots of the index are whole; the newest was made at SnapshotTime and
	// has SnapshotRecords.
	Snapshots       int64     `json:"snapshots"`
	SnapshotTime    time.Time `json:"snapshot_time,omitzero"`
	SnapshotRecords int64     `json:"snapshot_records"`
}

// Found returns how many findings there are, and how many of them remain.
func (r *Report) Found() (found, remaining int64) {
	for t := range maps.Values(r.Counts) {
		found += t.Found
		remaining += t.Found - t.Repaired
	}
	return found, remaining
}

// Add adds a finding.
func (r *Report) Add(f Finding) {
	if r.Counts == nil {
		r.Counts = make(map[FindingKind]FindingCount)
	}
	t := r.Counts[f.Kind]
	t.Found++
	if f.Done != "" {
		t.Repaired++
	}
	r.Counts[f.Kind] = t
	if len(r.Findings) < maxFindings {
		r.Findings = append(r.Findings, f)
	}
}

func (r *Report) sort() {
	slices.SortFunc(r.Findings, func(a, b Finding) int {
		return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Name, b.Name), cmp.Compare(a.Digest, b.Digest))
	})
}
