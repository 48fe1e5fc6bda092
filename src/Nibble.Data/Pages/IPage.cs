namespace Nibble.Data.Pages;

/// <summary>A page that is written from top to bottom. Texts are shown as they are, whatever marks they contain.</summary>
public interface IPage
{
    /// <summary>Begins a section.</summary>
    void Heading(string text);

    /// <summary>A paragraph; line ends stay.</summary>
    void Paragraph(string text);

    /// <summary>A table.</summary>
    /// <param name="columns">Their names.</param>
    /// <param name="rows">Cells of each row, as many as there are columns.</param>
    /// <param name="numbersFrom">The first of the columns that hold numbers, which stand below each other; null where all are text.</param>
    void Table(IReadOnlyList<string> columns, IEnumerable<IReadOnlyList<string>> rows, int? numbersFrom = null);

    /// <summary>Curves, drawn where the page can, else as a table.</summary>
    void Chart(LineChart chart);
}
