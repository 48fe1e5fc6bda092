namespace Nibble.Modeling.Tokenizers;

/// <summary>A token and the part of the text it stands for.</summary>
/// <param name="Id">The token.</param>
/// <param name="Start">First UTF-16 unit of the text; equal to <paramref name="End"/> for tokens that stand for none.</param>
/// <param name="End">After the last unit.</param>
public readonly record struct TokenSpan(int Id, int Start, int End);
