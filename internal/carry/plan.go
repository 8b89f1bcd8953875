package carry

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"github.com/pullgate/pullgate/internal/bundle"
	"github.com/pullgate/pullgate/internal/oci"
)

// maxNamed is how many images an error names.
const maxNamed = 10

// MoveError says that an import would move tags, which its options forbid.
type MoveError struct {
	// Images are those whose tags would be moved.
	Images []ImportedImage
}

// Error names the tags.
func (e *MoveError) Error() string {
	var moves []string
	for _, image := range e.Images[:min(len(e.Images), maxNamed)] {
		moves = append(moves, fmt.Sprintf("%s from %s to %s", image.Name, image.Was, image.Digest))
	}
	if more := len(e.Images) - len(moves); more > 0 {
		moves = append(moves, fmt.Sprintf("and %d more", more))
	}
	return "nothing is imported, since tags would move: " + strings.Join(moves, ", ")
}

// plan returns what is going to show, in the order of the index.
func (i *importing) plan(ctx context.Context) ([]ImportedImage, error) {
	planned := make([]ImportedImage, 0, len(i.index.Images))
	for _, image := range i.index.Images {
		p := ImportedImage{Name: image.Name.String(), Digest: image.Descriptor.Digest, Isolated: image.Isolated}
		if tag := image.Name.Reference.Tag; tag != "" {
			for _, scope := range i.o.Scopes(image.Name) {
				old, err := i.store.Tag(ctx, scope, tag)
				if err != nil && !errors.Is(err, fs.ErrNotExist) {
					return nil, err
				}
				if err == nil && old.Digest != p.Digest {
					p.Was = old.Digest
				}
			}
		}
		planned = append(planned, p)
	}
	return planned, nil
}

// allow returns an error if what is planned must not be.
func (i *importing) allow(planned []ImportedImage) error {
	if i.o.NoMove {
		moves := slices.DeleteFunc(slices.Clone(planned), func(p ImportedImage) bool { return p.Was == "" })
		if len(moves) > 0 {
			return &MoveError{moves}
		}
	}
	if i.o.AllowPublic {
		return nil
	}
	open := func(image bundle.Image) bool {
		return image.Isolated && slices.ContainsFunc(i.o.Scopes(image.Name), i.o.Public)
	}
	if n := slices.IndexFunc(i.index.Images, open); n >= 0 {
		name := i.index.Images[n].Name
		return fmt.Errorf("%s comes from an upstream that does not answer everybody, and here everybody may pull from %s: say with access who may, or allow it with --allow-public", name, oci.UpstreamName(name.Upstream))
	}
	return nil
}
