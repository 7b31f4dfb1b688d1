//! How a parameter lies in files of weights, said once: whoever reads or writes one asks its [`FileLayout`].

use super::Tensor;

/// How a parameter lies in files of weights: safetensors and ONNX have PyTorch's order of axes, and nothing else has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileLayout {
    /// As here.
    Same,
    /// A convolution's kernel: (O, KH, KW, I) here, (O, I, KH, KW) there.
    Kernel,
    /// A matrix whose columns read a flattened image of this height, width and channels: in the order (H, W, C) here, (C, H, W) there.
    Image([u32; 3]),
    /// Rows of several tensors one below the other here; there each by itself, under a name of its own in the place of the one here.
    Stacked([&'static str; 3]),
}

/// The order in which the axes of [`FileLayout::view`] lie here: channels last.
pub const AXES: [u32; 4] = [0, 2, 3, 1];

impl FileLayout {
    /// The layout of a tensor of which no more is known than its axes: four are those of a kernel.
    pub fn of_rank(rank: usize) -> Self {
        if rank == 4 { Self::Kernel } else { Self::Same }
    }

    /// The extents in a file of a tensor that has these here.
    pub fn there(self, here: &[usize]) -> Vec<usize> {
        match (self, here) {
            (Self::Kernel, &[o, h, w, i]) => vec![o, i, h, w],
            (Self::Same | Self::Kernel | Self::Image(_) | Self::Stacked(_), _) => here.to_vec(),
        }
    }

    /// The extents here of a tensor that has these in a file.
    pub fn here(self, there: &[usize]) -> Vec<usize> {
        match (self, there) {
            (Self::Kernel, &[o, i, h, w]) => vec![o, h, w, i],
            (Self::Same | Self::Kernel | Self::Image(_) | Self::Stacked(_), _) => there.to_vec(),
        }
    }

    /// The four axes that a file's tensor of these extents has, slowest first, where its numbers lie in another order here; see [`AXES`].
    pub fn view(self, there: &[usize]) -> Option<[usize; 4]> {
        match self {
            Self::Same | Self::Stacked(_) => None,
            Self::Kernel => there.try_into().ok(),
            Self::Image(image) => {
                let [h, w, c] = image.map(|n| n as usize);
                let [out, columns] = *there else { return None };
                (c > 1 && columns == h * w * c).then_some([out, c, h, w])
            }
        }
    }

    /// Names of the tensors that a file has for the one called `name` here, in the order of their rows.
    pub fn names(self, name: &str) -> Vec<String> {
        let Self::Stacked(parts) = self else { return vec![name.into()] };
        // `a.b.qkv.weight` is `a.b.query.weight` and so on: the last word but one is the layer's own.
        let mut path: Vec<&str> = name.split('.').collect();
        let place = path.len().saturating_sub(2);
        let named = |part: &'static str| {
            path[place] = part;
            path.join(".")
        };
        parts.map(named).into()
    }

    /// A tensor of ours as a file has it. One that the layout is not for stays as it is.
    pub fn write(self, ours: Tensor) -> Tensor {
        let shape = self.there(&ours.shape);
        match self.view(&shape) {
            Some([o, i, h, w]) => swap_inner(&ours.data, [o, h * w, i], shape),
            None => ours,
        }
    }

    /// A tensor of a file as ours. One that the layout is not for stays as it is.
    pub fn read(self, theirs: Tensor) -> Tensor {
        match self.view(&theirs.shape) {
            Some([o, i, h, w]) => swap_inner(&theirs.data, [o, i, h * w], self.here(&theirs.shape)),
            None => theirs,
        }
    }
}

/// (outer, rows, columns) → (outer, columns, rows), then called `shape`.
fn swap_inner(data: &[f32], [outer, rows, columns]: [usize; 3], shape: Vec<usize>) -> Tensor {
    let mut swapped = vec![0.0; data.len()];
    for o in 0..outer {
        let base = o * rows * columns;
        for r in 0..rows {
            for c in 0..columns {
                swapped[base + c * rows + r] = data[base + r * columns + c];
            }
        }
    }
    Tensor::new(shape, swapped)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counting(shape: &[usize]) -> Tensor {
        Tensor::new(shape, (0..shape.iter().product()).map(|n: usize| n as f32).collect())
    }

    #[test]
    fn convolutions_change_order_at_the_boundary_and_back() {
        let kernel = FileLayout::Kernel;
        // O = 1, KH = 1, KW = 3, I = 2: channel fastest here, width fastest in PyTorch.
        let ours = Tensor::new([1, 1, 3, 2], vec![1., 10., 2., 20., 3., 30.]);
        let theirs = kernel.write(ours.clone());
        assert_eq!(theirs, Tensor::new([1, 2, 1, 3], vec![1., 2., 3., 10., 20., 30.]));
        assert_eq!(kernel.read(theirs), ours);
        let odd = counting(&[3, 5, 2, 7]);
        assert_eq!(kernel.write(odd.clone()).shape, [3, 7, 5, 2]);
        assert_eq!(kernel.read(kernel.write(odd.clone())), odd);
    }

    #[test]
    fn columns_of_an_image_change_order_and_the_matrix_keeps_its_shape() {
        let image = FileLayout::Image([1, 2, 3]);
        let ours = Tensor::new([1, 6], vec![1., 10., 100., 2., 20., 200.]);
        let theirs = image.write(ours.clone());
        assert_eq!(theirs, Tensor::new([1, 6], vec![1., 2., 10., 20., 100., 200.]));
        assert_eq!(image.read(theirs), ours);
        assert_eq!(image.view(&[1, 6]), Some([1, 3, 1, 2]));
    }

    #[test]
    fn what_a_layout_is_not_for_stays() {
        for (layout, shape) in [
            (FileLayout::Same, &[2, 3, 4, 5][..]),
            (FileLayout::Kernel, &[2, 3]),
            (FileLayout::Image([2, 2, 3]), &[2, 11]),
            (FileLayout::Image([2, 2, 1]), &[2, 4]),
            (FileLayout::of_rank(2), &[2, 3]),
        ] {
            let tensor = counting(shape);
            assert_eq!(layout.write(tensor.clone()), tensor, "{layout:?}");
            assert_eq!(layout.read(tensor.clone()), tensor, "{layout:?}");
        }
    }
}
