package imagelist

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"slices"

	"go.yaml.in/yaml/v3"
)

// maxDepth is how deep JSON may be nested; YAML has the same limit.
const maxDepth = 10_000

var (
	errDeep = errors.New("nested too deeply")
	errMany = errors.New("it has more entries than a list may have: split it")
)

// parseJSON reads JSON documents, one after the other, as the nodes of YAML, and leaves
// out what images cannot be found by. Not everything that is allowed in strings of JSON
// is so there.
func parseJSON(raw []byte) (nodes []*yaml.Node, err error) {
	p := jsonParser{raw: raw, decoder: json.NewDecoder(bytes.NewReader(raw)), line: 1}
	p.decoder.UseNumber()
	for {
		n, err := p.value(0)
		if errors.Is(err, io.EOF) {
			return nodes, nil
		}
		if err != nil {
			return nil, err
		}
		if holds(n) {
			nodes = append(nodes, n)
		}
	}
}

type jsonParser struct {
	raw     []byte
	decoder *json.Decoder
	read    int // up to where lines were counted
	line    int
	kept    int // nodes
}

// value reads one value. The end of an array or an object is nil.
func (p *jsonParser) value(depth int) (*yaml.Node, error) {
	token, err := p.decoder.Token()
	if err != nil {
		return nil, err
	}
	offset := int(p.decoder.InputOffset())
	p.line += bytes.Count(p.raw[p.read:offset], []byte("\n"))
	p.read = offset
	n := &yaml.Node{Kind: yaml.ScalarNode, Line: p.line}
	switch t := token.(type) {
	case string:
		n.Value = t
		return n, nil
	case json.Number:
		n.Value = t.String()
		return n, nil
	case json.Delim:
		switch t {
		case ']', '}':
			return nil, nil
		case '[':
			n.Kind = yaml.SequenceNode
		default:
			n.Kind = yaml.MappingNode
		}
	default: // true, false, null
		n.Tag = "!!null"
		return n, nil
	}
	if depth == maxDepth {
		return nil, errDeep
	}
	for {
		child, err := p.child(depth)
		if err != nil || child == nil {
			return n, err
		}
		var key *yaml.Node
		if n.Kind == yaml.MappingNode {
			key = child
			if child, err = p.child(depth); err != nil || child == nil {
				return n, err
			}
		}
		if err := p.keep(n, key, child); err != nil {
			return nil, err
		}
	}
}

func (p *jsonParser) child(depth int) (*yaml.Node, error) {
	child, err := p.value(depth + 1)
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return child, err
}

// keep adds a value to an array or, under a key, to an object if it may matter: of the
// fields of an object with a single value, these few do.
func (p *jsonParser) keep(n, key, value *yaml.Node) error {
	switch {
	case key == nil && (value.Kind == yaml.ScalarNode || holds(value)):
		n.Content = append(n.Content, value)
	case key == nil, key.Value == "metadata":
		return nil
	case holds(value), slices.Contains([]string{"image", "reference", "apiVersion", "kind"}, key.Value):
		n.Content = append(n.Content, key, value)
	default:
		return nil
	}
	if p.kept++; p.kept > maxNodes {
		return errMany
	}
	return nil
}

// holds reports whether there is anything in an array or an object.
func holds(n *yaml.Node) bool { return len(n.Content) > 0 }
