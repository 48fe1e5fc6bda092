using static TorchSharp.torch;

namespace Nibble.Modeling.Decoder;

/// <summary>A tensor that training changes.</summary>
/// <param name="Name">Its name in the checkpoint it is saved to.</param>
/// <param name="Value">float32, asks for a gradient.</param>
/// <param name="Decays">Whether weight decay applies: to matrices, not to norms and biases.</param>
public sealed record Parameter(string Name, Tensor Value, bool Decays);
