package operate

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/pullgate/pullgate/internal/bundle"
	"github.com/pullgate/pullgate/internal/fleet"
	"github.com/pullgate/pullgate/storage"
)

// Gateway has the verbs. The lines of each go to tell, one at a time. An error is
// returned for a request that is refused before the first line, and for an answer
// that ends before the last one; whatever else goes wrong is in the lines.
type Gateway interface {
	// Status returns the state of one store, or, without a path, of all.
	Status(ctx context.Context, path string) (Status, error)
	// Pulls returns the pulls of images that a server has seen.
	Pulls(ctx context.Context, q PullsRequest) (Pulls, error)
	// History returns how much was done, step by step.
	History(ctx context.Context, q HistoryRequest) (History, error)
	// Probe tries whether a gateway has what pulls need, and reaches its upstreams.
	Probe(ctx context.Context, q ProbeRequest, tell func(ProbeLine)) error
	Inventory(ctx context.Context, q InventoryRequest, tell func(InventoryLine)) error
	Remove(ctx context.Context, q RemoveRequest, tell func(RemoveLine)) error
	// Pins lists pins, Pin stores one, and Unpin drops it.
	Pins(ctx context.Context, q PinRequest, tell func(PinLine)) error
	Pin(ctx context.Context, q PinRequest, tell func(PinLine)) error
	Unpin(ctx context.Context, q PinRequest, tell func(PinLine)) error
	Check(ctx context.Context, q CheckRequest, tell func(CheckLine)) error
	Verify(ctx context.Context, q VerifyRequest, tell func(ImageLine)) error
	Preload(ctx context.Context, q PreloadRequest, tell func(ImageLine)) error
	// Sync brings what a gateway has to the bucket that it shares with others.
	Sync(ctx context.Context, q SyncRequest, tell func(SyncLine)) error
	// Export returns a bundle that is to be written, then closed.
	Export(ctx context.Context, q ExportRequest) (*Bundle, error)
	// Import reads a bundle once it is known where to: open returns it, and whoever
	// calls Import closes it.
	Import(ctx context.Context, q ImportRequest, open func() (*bundle.Reader, error), tell func(ImportLine)) error
}

// Where the admin API has the verbs.
const (
	StatusPath    = "/registry_mirror/"
	PullsPath     = "/registry_mirror/pulls"
	HistoryPath   = "/registry_mirror/history"
	ProbePath     = "/registry_mirror/probe"
	InventoryPath = "/registry_mirror/inventory"
	RemovePath    = "/registry_mirror/remove"
	PinsPath      = "/registry_mirror/pins"
	PinPath       = "/registry_mirror/pin"
	UnpinPath     = "/registry_mirror/unpin"
	CheckPath     = "/registry_mirror/check"
	VerifyPath    = "/registry_mirror/verify"
	PreloadPath   = "/registry_mirror/preload"
	SyncPath      = "/registry_mirror/sync"
	ExportPath    = "/registry_mirror/export"
	ImportPath    = "/registry_mirror/import"
)

// StoreLine is one line about stores: the first has Paths only; then there are, for
// each of these and in this order, any number with Progress and one with Report or
// Error, or both.
type StoreLine[P, R any] struct {
	Paths    []string `json:"paths,omitempty"`
	Path     string   `json:"path,omitempty"`
	Progress *P       `json:"progress,omitempty"`
	Report   *R       `json:"report,omitempty"`
	Error    string   `json:"error,omitempty"`
	// Nothing says that there is nothing of what was named.
	Nothing bool `json:"nothing,omitempty"`
}

// IsProgress reports whether others say more than this line.
func (l StoreLine[P, R]) IsProgress() bool { return l.Progress != nil }

type (
	// InventoryLine is a line about an inventory.
	InventoryLine = StoreLine[storage.Inventory, storage.Inventory]
	// RemoveLine is a line about a removal.
	RemoveLine = StoreLine[RemoveReport, RemoveReport]
	// PinLine is a line about pins.
	PinLine = StoreLine[PinReport, PinReport]
	// CheckLine is a line about a check.
	CheckLine = StoreLine[storage.CheckProgress, storage.CheckReport]
	// SyncLine is a line about what is brought to the bucket.
	SyncLine = StoreLine[fleet.Synced, fleet.Synced]
)

// RefusedError is the error of a request that is refused. Over HTTP it has the status.
type RefusedError struct {
	Status int
	Err    error
}

// Error implements error.
func (r *RefusedError) Error() string { return r.Err.Error() }

// Unwrap returns the reason.
func (r *RefusedError) Unwrap() error { return r.Err }

func refuse(status int, err error) error { return &RefusedError{status, err} }

// ErrRebuildOpen says why a server rebuilds no index.
var ErrRebuildOpen = errors.New("the index of an open store cannot be rebuilt: stop the server, then run pullgate mirror fsck --rebuild")

func errNotOpen(path string) error {
	if path == "" {
		return refuse(http.StatusNotFound, errors.New("no store is open"))
	}
	return refuse(http.StatusNotFound, fmt.Errorf("no store is open at %s", path))
}
