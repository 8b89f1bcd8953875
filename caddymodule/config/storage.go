package config

import (
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/storage"
)

// Storage is one store: a folder on a local file system.
type Storage struct {
	// The folder, made if missing. It may hold the placeholders {env.*} and
	// {file.*}. Default: registry_mirror in Caddy's data directory.
	Path string `json:"path,omitempty"`

	// The most bytes that blobs may take; the least recently used go first.
	// Default: 0, no limit but the free space.
	MaxSize int64 `json:"max_size,omitempty"`

	// Free bytes to leave on the file system. Default: 0; what the index needs
	// to be safe is always left.
	MinFree int64 `json:"min_free,omitempty"`

	// Free space to leave on the file system, in percent of its size. Not
	// together with min_free. Default: 0.
	MinFreePercent float64 `json:"min_free_percent,omitempty"`

	// Forget what nobody has pulled for so long. Default: 0, never; but what led to
	// blobs that are gone is forgotten after 180 days, unless its upstream is offline.
	MaxUnused caddy.Duration `json:"max_unused,omitempty"`

	// About how many bytes the records of manifests, tags, links and referrers may
	// take; those without use for the longest are forgotten. Default: 2 GiB.
	MaxIndex int64 `json:"max_index,omitempty"`

	// Images never to evict, whatever the limits: upstream/repository[:tag], or
	// upstream/repository@digest. Repository and tag may be globs: * matches
	// inside a path component, ** across components; no tag means all tags
	// ("docker.io/library/alpine:3.*", "ghcr.io/org/**"). Upstreams are meant by
	// their name, not an alias. Only where the index cannot be opened, and the
	// disk is full, is it not known what is pinned.
	Pin []string `json:"pin,omitempty"`
}

// Limits returns what the store is opened with.
func (s *Storage) Limits() (storage.Limits, error) {
	l := storage.Limits{
		MaxSize:        s.MaxSize,
		MinFree:        s.MinFree,
		MinFreePercent: s.MinFreePercent,
		MaxUnused:      time.Duration(s.MaxUnused),
		MaxIndex:       s.MaxIndex,
	}
	for _, text := range s.Pin {
		p, err := oci.ParsePin(text)
		if err != nil {
			return storage.Limits{}, fmt.Errorf("storage: pin: %w", err)
		}
		l.Pins = append(l.Pins, p)
	}
	return l, nil
}

// Folder returns the absolute path of the store.
func (s *Storage) Folder() (string, error) {
	path := filepath.Join(caddy.AppDataDir(), "registry_mirror")
	if s != nil && s.Path != "" {
		var err error
		if path, err = caddy.NewReplacer().ReplaceOrErr(s.Path, true, true); err != nil {
			return "", fmt.Errorf("storage path: %w", err)
		}
	}
	path, err := filepath.Abs(path)
	if err != nil {
		return "", fmt.Errorf("storage path: %w", err)
	}
	return path, nil
}

// Check tells what is wrong with the limits.
func (s *Storage) Check() error {
	switch {
	case s.MaxSize < 0, s.MinFree < 0, s.MaxUnused < 0, s.MaxIndex < 0:
		return errors.New("storage: max_size, min_free, max_unused and max_index cannot be negative; leave out a limit to have its default")
	case s.MinFreePercent < 0 || s.MinFreePercent >= 100:
		return fmt.Errorf("storage: min_free is %g%%, want 0%% to less than 100%%", s.MinFreePercent)
	case s.MinFree > 0 && s.MinFreePercent > 0:
		return errors.New("storage: min_free and min_free_percent exclude each other; keep one")
	}
	return nil
}

// checkPin tells what is wrong with a pattern of images.
func checkPin(s string) error {
	_, err := oci.ParsePin(s)
	return err
}

// UnmarshalCaddyfile reads what stands after the option storage.
func (s *Storage) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	if d.NextArg() {
		s.Path = d.Val()
	}
	if d.NextArg() {
		return d.ArgErr()
	}
	return parseBlock(d, "storage", storageOptions, s, func(*caddyfile.Dispenser, []string) error { return nil })
}
