package imagelist

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	"go.yaml.in/yaml/v3"
)

// documents adds the images of YAML or JSON documents.
func (l *list) documents(raw []byte) {
	nodes, err := parseJSON(raw)
	if err == nil {
		for _, root := range nodes {
			l.document(root)
		}
		return
	}
	if !errors.Is(err, errMany) {
		err = countMarks(raw)
	}
	if err != nil {
		l.errs = append(l.errs, fmt.Errorf("%s: %w", l.name, err))
		return
	}
	for decoder := yaml.NewDecoder(bytes.NewReader(raw)); ; {
		var document yaml.Node
		err := decoder.Decode(&document)
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			l.errs = append(l.errs, fmt.Errorf("%s: %w", l.name, err))
			return
		}
		for _, root := range document.Content {
			l.document(root)
		}
	}
}

// countMarks refuses YAML of which a document may have too many nodes: each of them has
// a line, or is parted from the next by a mark.
func countMarks(raw []byte) error {
	marks, blank := 0, true // blank: nothing but space so far in the line
	for i, c := range raw {
		switch {
		case c == '\n':
			if bytes.HasPrefix(raw[i+1:], []byte("---")) {
				marks = 0
			}
			if !blank {
				marks++
			}
			blank = true
			continue
		case c == ',', c == '[', c == '{', c == '-' && blank, c == '?' && blank, c == ':' && i+1 < len(raw) && raw[i+1] == ' ':
			marks++
		}
		blank = blank && (c == ' ' || c == '-' || c == '?')
		if marks > maxMarks {
			return errMany
		}
	}
	return nil
}

func (l *list) document(root *yaml.Node) {
	if root.Kind == yaml.SequenceNode {
		l.sequence(root)
	}
	l.visit(root)
}

// visit adds the images below a node. What an alias stands for is visited where
// its anchor is, once.
func (l *list) visit(n *yaml.Node) {
	if n.Kind == yaml.SequenceNode {
		for _, item := range n.Content {
			l.visit(item)
		}
	}
	if n.Kind != yaml.MappingNode {
		return
	}
	kind := ""
	if field(n, "apiVersion") != nil {
		kind = text(field(n, "kind"))
	}
	// It holds schemas and examples.
	if kind == "CustomResourceDefinition" {
		return
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i].Value, n.Content[i+1]
		switch {
		case key == "metadata":
			// Labels and annotations may have any name.
		case key == "status" && kind != "":
			// What ran, by names that need not be those to ask for.
		case key == "images" && kind == "Images":
			l.sequence(value) // of kubeadm config images list -o yaml
		case key == "image":
			l.image(value)
			l.visit(value)
		default:
			l.visit(value)
		}
	}
}

// image adds the image of a field.
func (l *list) image(n *yaml.Node) {
	if n.Kind == yaml.MappingNode {
		n = field(n, "reference") // of an image volume
	}
	// auto is what Istio replaces.
	if s := text(n); s != "" && s != "auto" {
		l.add(n.Line, s)
	}
}

// sequence adds references that stand in a sequence by themselves.
func (l *list) sequence(n *yaml.Node) {
	if n.Kind != yaml.SequenceNode {
		return
	}
	for _, item := range n.Content {
		if s := text(item); s != "" {
			l.add(item.Line, s)
		}
	}
}

// field returns what a mapping has under a key, or nil.
func field(n *yaml.Node, key string) *yaml.Node {
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == key {
			return n.Content[i+1]
		}
	}
	return nil
}

// text returns the text of a scalar, also by an alias; empty = it is not one.
func text(n *yaml.Node) string {
	if n != nil && n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	if n == nil || n.Kind != yaml.ScalarNode || n.Tag == "!!null" {
		return ""
	}
	return n.Value
}
