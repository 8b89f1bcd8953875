package caddymodule

import (
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"

	"github.com/pullgate/pullgate/storage"
)

func init() {
	caddy.RegisterModule(AdminAPI{})
}

// AdminAPI serves statistics at /registry_mirror/ of the admin API, and checks
// stores:
//
//	GET  /registry_mirror/        {"storage": [{"path": "...", "blobs": 12, ...}],
//	                               "upstreams": [{"name": "docker.io", "state": "closed", ...}],
//	                               "traffic": [{"name": "docker.io", "hits": 12, ...}]}
//	POST /registry_mirror/check   see checkLine
//	POST /registry_mirror/verify, /registry_mirror/preload   see imageLine
//	POST /registry_mirror/export  see exportRequest
//	POST /registry_mirror/import  see importLine
//
// and operations on stores, which are POST requests, too: see inventoryPath,
// removePath and pinsPath.
//
// It has no state: the stores and clients of the process are looked up for each request.
type AdminAPI struct{}

// cacheStatus is one open store, as the admin API shows it. All sizes are in
// bytes.
type cacheStatus struct {
	Path      string `json:"path"`
	Blobs     int64  `json:"blobs"`
	BlobBytes int64  `json:"blob_bytes"`
	// Upstreams are the bytes of blobs by the upstream that brought them in first;
	// of what is under "" that is not known.
	Upstreams map[string]int64 `json:"upstreams,omitempty"`
	// PinnedBytes are those of pinned images, when blobs last had to be evicted.
	// Overpinned says that they exceed a limit by themselves.
	PinnedBytes int64 `json:"pinned_bytes"`
	Overpinned  bool  `json:"overpinned"`
	// Counted is false while the blobs of earlier runs are still being counted.
	Counted    bool  `json:"counted"`
	IndexBytes int64 `json:"index_bytes"`
	// IndexOpen is false while the index cannot be opened: then nothing is
	// served without the upstream. IndexError says why it last was that, or
	// damaged, and IndexRebuilds how often it was begun anew.
	IndexOpen     bool   `json:"index_open"`
	IndexRebuilds int64  `json:"index_rebuilds"`
	IndexError    string `json:"index_error,omitempty"`
	// QuarantinedBlobs were found damaged, since the store was opened.
	QuarantinedBlobs int64 `json:"quarantined_blobs"`
	FreeBytes        int64 `json:"free_bytes"`
	FreeInodes       int64 `json:"free_inodes"`
	TotalBytes       int64 `json:"total_bytes"`
	EvictedBlobs     int64 `json:"evicted_blobs"`
	EvictedBytes     int64 `json:"evicted_bytes"`
	// Fills, and Readers of them, in progress; Queued are those fills that wait.
	Fills     int   `json:"fills"`
	Queued    int   `json:"queued"`
	FillBytes int64 `json:"fill_bytes"`
	Readers   int   `json:"readers"`
	// LookUps at upstreams in progress, and failures that are remembered.
	LookUps  int `json:"look_ups"`
	Failures int `json:"failures"`
}

// CaddyModule returns the Caddy module information.
func (AdminAPI) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "admin.api.registry_mirror",
		New: func() caddy.Module { return new(AdminAPI) },
	}
}

// Routes returns the routes of the admin API.
func (a AdminAPI) Routes() []caddy.AdminRoute {
	return []caddy.AdminRoute{{
		Pattern: "/registry_mirror/",
		Handler: caddy.AdminHandlerFunc(a.status),
	}, {
		Pattern: "/registry_mirror/check",
		Handler: caddy.AdminHandlerFunc(a.check),
	}, {
		Pattern: verifyPath,
		Handler: caddy.AdminHandlerFunc(a.verify),
	}, {
		Pattern: preloadPath,
		Handler: caddy.AdminHandlerFunc(a.preload),
	}, {
		Pattern: inventoryPath,
		Handler: caddy.AdminHandlerFunc(a.inventory),
	}, {
		Pattern: removePath,
		Handler: caddy.AdminHandlerFunc(a.remove),
	}, {
		Pattern: pinsPath,
		Handler: caddy.AdminHandlerFunc(a.pins),
	}, {
		Pattern: pinPath,
		Handler: caddy.AdminHandlerFunc(a.pins),
	}, {
		Pattern: unpinPath,
		Handler: caddy.AdminHandlerFunc(a.pins),
	}, {
		Pattern: exportPath,
		Handler: caddy.AdminHandlerFunc(a.export),
	}, {
		Pattern: importPath,
		Handler: caddy.AdminHandlerFunc(a.importBundle),
	}}
}

func (AdminAPI) status(w http.ResponseWriter, r *http.Request) error {
	if r.URL.Path != "/registry_mirror/" {
		return caddy.APIError{HTTPStatus: http.StatusNotFound, Err: errors.New("nothing here, see /registry_mirror/")}
	}
	if r.Method != http.MethodGet {
		return caddy.APIError{HTTPStatus: http.StatusMethodNotAllowed, Err: errors.New("method not allowed")}
	}
	w.Header().Set("Content-Type", "application/json")
	return json.NewEncoder(w).Encode(gatewayStatus{
		Storage: cacheStatuses(), Upstreams: breakerStatuses(), Traffic: trafficStatuses(),
	})
}

// cacheStatuses returns the open stores.
func cacheStatuses() []cacheStatus {
	open := openCaches()
	statuses := make([]cacheStatus, 0, len(open))
	for _, c := range open {
		status, stats := newCacheStatus(c.path, c.store.Usage()), c.mirror.Stats()
		status.Fills, status.Queued, status.FillBytes = stats.Fills, stats.Queued, stats.FillBytes
		status.Readers, status.LookUps, status.Failures = stats.Readers, stats.LookUps, stats.Failures
		statuses = append(statuses, status)
	}
	return statuses
}

// newCacheStatus returns the status of a store without mirrors.
func newCacheStatus(path string, usage storage.Usage) cacheStatus {
	return cacheStatus{
		Path:             path,
		Blobs:            usage.Blobs,
		BlobBytes:        usage.BlobBytes,
		Upstreams:        usage.Upstreams,
		PinnedBytes:      usage.PinnedBytes,
		Overpinned:       usage.Overpinned,
		Counted:          usage.Counted,
		IndexBytes:       usage.IndexBytes,
		IndexOpen:        usage.IndexOpen,
		IndexRebuilds:    usage.IndexRebuilds,
		IndexError:       usage.IndexError,
		QuarantinedBlobs: usage.QuarantinedBlobs,
		FreeBytes:        usage.FreeBytes,
		FreeInodes:       usage.FreeInodes,
		TotalBytes:       usage.TotalBytes,
		EvictedBlobs:     usage.EvictedBlobs,
		EvictedBytes:     usage.EvictedBytes,
	}
}

// openCaches returns the open stores, sorted by path.
func openCaches() []*cache {
	var open []*cache
	caches.Range(func(_, value any) bool {
		if c, ok := value.(*cache); ok { // or one that is still being opened
			open = append(open, c)
		}
		return true
	})
	slices.SortFunc(open, func(a, b *cache) int { return strings.Compare(a.path, b.path) })
	return open
}

// Interface guards
var (
	_ caddy.AdminRouter = AdminAPI{}
)
