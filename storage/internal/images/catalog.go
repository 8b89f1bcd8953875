package images

import (
	"bytes"
	"context"
	"fmt"
	"iter"
	"strings"

	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/storage/internal/index"
	"github.com/pullgate/pullgate/storage/internal/life"
	"github.com/pullgate/pullgate/storage/internal/volume"
)

// Catalog is what a store has by name, as it was when the Catalog was made: what
// changes meanwhile does not show. It holds no more than a few hundred records in
// memory, and neither a Store's Close nor writers wait for its readers;
// after the Close it is ErrClosed. Only one goroutine at a time uses it, and calls
// Close: until then the index keeps what was since replaced.
type Catalog struct {
	life  *life.Life
	index *index.Index
	txn   *index.Txn
}

// CatalogTag is a tag of a Catalog.
type CatalogTag struct {
	Scope oci.Scope
	Name  string
	index.Tag
}

// NewCatalog returns what the index has at present. It is ErrNoIndex while that is
// not known.
func NewCatalog(ctx context.Context, l *life.Life, x *index.Index) (*Catalog, error) {
	c := &Catalog{life: l, index: x}
	err := l.Within(ctx, func() (err error) {
		c.txn, err = x.Begin()
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("read catalog: %w", err)
	}
	return c, nil
}

// Close lets go of what the Catalog holds.
func (c *Catalog) Close() {
	if c.life.Enter(context.Background()) != nil {
		return // nothing is left to let go of
	}
	defer c.life.Leave()
	c.txn.Discard()
}

// Scopes yields the scopes of the upstreams of a name, empty = of all, in order: each
// that has tags, or content linked to it, though none of it need be stored. An
// error is the last thing that it yields.
func (c *Catalog) Scopes(ctx context.Context, upstream string) iter.Seq2[oci.Scope, error] {
	return func(yield func(oci.Scope, error) bool) {
		for r, err := range c.scan(ctx, []byte(string(rune(index.TableScope))+upstream), false) {
			if err != nil {
				yield(oci.Scope{}, err)
				return
			}
			if scope, ok := index.ScopeOf(r.Key, upstream, 2); ok && !yield(scope, nil) {
				return
			}
		}
	}
}

// Identities returns the identities under which upstreams of a name have scopes, in
// order. How many scopes these are makes no difference.
func (c *Catalog) Identities(ctx context.Context, upstream string) (identities []string, err error) {
	for from := upstream; ; {
		some, _, err := c.step(ctx, []byte(string(rune(index.TableScope))+upstream), []byte(string(rune(index.TableScope))+from), false, 1)
		if err != nil {
			return nil, fmt.Errorf("read catalog: %w", err)
		}
		if len(some) == 0 {
			return identities, nil
		}
		identity, _, _ := strings.Cut(string(some[0].Key[1:]), "\x00")
		if oci.UpstreamName(identity) == upstream {
			identities = append(identities, identity)
		}
		from = identity + "\x01" // behind all repositories of it
	}
}

// Tags yields the tags of the upstreams of a name, empty = of all, and of one
// repository of them, empty = of all, in order of upstream, repository and tag. An
// error is the last thing that it yields.
func (c *Catalog) Tags(ctx context.Context, upstream, repository string) iter.Seq2[CatalogTag, error] {
	return func(yield func(CatalogTag, error) bool) {
		for r, err := range c.scan(ctx, []byte(string(rune(index.TableTag))+upstream), true) {
			if err != nil {
				yield(CatalogTag{}, err)
				return
			}
			scope, ok := index.ScopeOf(r.Key, upstream, 3)
			if !ok || repository != "" && scope.Repository != repository {
				continue
			}
			t, ok := index.DecodeTag(r.Value)
			if !ok {
				continue
			}
			name := string(r.Key[bytes.LastIndexByte(r.Key, 0)+1:])
			if !yield(CatalogTag{Scope: scope, Name: name, Tag: t}, nil) {
				return
			}
		}
	}
}

// Blobs yields digest and size of the finished blobs that are recorded, in order. An
// error is the last thing that it yields.
func (c *Catalog) Blobs(ctx context.Context) iter.Seq2[oci.Descriptor, error] {
	return func(yield func(oci.Descriptor, error) bool) {
		for r, err := range c.scan(ctx, []byte{index.TableBlob}, true) {
			if err != nil {
				yield(oci.Descriptor{}, err)
				return
			}
			i := volume.ID(r.Key[1:])
			blob, ok := index.DecodeBlob(r.Value)
			if ok && i.Valid() && !yield(oci.Descriptor{Digest: i.Digest(), Size: blob.Size}, nil) {
				return
			}
		}
	}
}

// Links yields digest and size of what is proven to be a scope's, in order. An error is
// the last thing that it yields.
func (c *Catalog) Links(ctx context.Context, scope oci.Scope) iter.Seq2[oci.Descriptor, error] {
	return func(yield func(oci.Descriptor, error) bool) {
		for r, err := range c.scan(ctx, index.AppendScope(nil, index.TableLink, scope), true) {
			if err != nil {
				yield(oci.Descriptor{}, err)
				return
			}
			i, valid := index.ScopedID(r.Key)
			l, ok := index.DecodeLink(r.Value)
			if valid && ok && l.Proven && !yield(oci.Descriptor{Digest: i.Digest(), Size: l.Size}, nil) {
				return
			}
		}
	}
}

// scan yields the records whose keys begin with the prefix.
func (c *Catalog) scan(ctx context.Context, prefix []byte, values bool) iter.Seq2[index.Record, error] {
	return func(yield func(index.Record, error) bool) {
		for from := prefix; from != nil; {
			var some []index.Record
			var err error
			if some, from, err = c.step(ctx, prefix, from, values, index.TableStep); err != nil {
				yield(index.Record{}, fmt.Errorf("read catalog: %w", err))
				return
			}
			for _, r := range some {
				if !yield(r, nil) {
					return
				}
			}
		}
	}
}

// step returns up to n records from a key on, and the key of the next one.
func (c *Catalog) step(ctx context.Context, prefix, from []byte, values bool, n int) (some []index.Record, next []byte, err error) {
	if err := c.life.Enter(ctx); err != nil {
		return nil, nil, err
	}
	defer c.life.Leave()
	if some, next, err = c.txn.Step(prefix, from, values, n); err != nil {
		c.index.NoteDamage(err)
	}
	return some, next, err
}
