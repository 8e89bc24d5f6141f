
  // What every lane makes of a word of weights and a word of inputs, all of one length.
%{columns}
%{lanes}
