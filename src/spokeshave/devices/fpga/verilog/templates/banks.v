
  // A word that comes in several beats lies in as many memories.
%{banks}
  wire unused = &{1'b0, write_data};
